"""Sends a file as a message: send.py SERVER:PORT FILE SENDER RECIPIENT..."""
import smtplib
import sys

server, file, sender, *recipients = sys.argv[1:]
with open(file, "rb") as message, smtplib.SMTP(server) as smtp:
    smtp.sendmail(sender, recipients, message.read(), mail_options=["BODY=8BITMIME"])
