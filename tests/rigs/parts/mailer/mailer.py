"""Sends messages by smtplib, all at once: reads a list of them as JSON from standard
input, and writes the server's reply to each as JSON to standard output."""
import concurrent.futures
import json
import smtplib
import ssl
import sys


class Context(ssl.SSLContext):
    """Verifies a name other than the one that is connected to."""

    def wrap_socket(self, sock, server_hostname=None, **options):
        return super().wrap_socket(sock, server_hostname=self.name, **options)


def send(m):
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=m["ca"])
    context.name = m["server_name"]
    source = (m["from_address"], 0)
    try:
        if m["tls"] == "implicit":
            smtp = smtplib.SMTP_SSL(m["host"], m["port"], "client", context=context, source_address=source)
        else:
            smtp = smtplib.SMTP(m["host"], m["port"], "client", source_address=source)
        with smtp:
            if m["tls"] == "STARTTLS":
                smtp.starttls(context=context)
            if m["auth"]:
                # login() chooses the mechanism itself.
                smtp.ehlo()
                smtp.user, smtp.password = m["user"], m["password"]
                smtp.auth(m["auth"], getattr(smtp, "auth_" + m["auth"].lower().replace("-", "_")))
            header = f'From: {m["sender"]}\nTo: {m["recipient"]}\nSubject: {m["subject"]}\n\n'
            smtp.ehlo_or_helo_if_needed()
            for step, argument in ((smtp.mail, m["sender"]), (smtp.rcpt, m["recipient"]), (smtp.data, header + m["text"])):
                code, text = step(argument)
                if code != 250:
                    break
            return f"{code} {text.decode()}"
    except smtplib.SMTPResponseException as e:
        return f"{e.smtp_code} {e.smtp_error.decode()}"
    except (OSError, smtplib.SMTPException) as e:
        return f"{type(e).__name__}: {e}"


with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(send, json.load(sys.stdin)))))
