package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/smtp"
	"time"
)

// sendOver sends one scan over conn.
func sendOver(conn net.Conn) error {
	client, err := smtp.NewClient(conn, "sealpost.local")
	if err != nil {
		return err
	}
	if err := client.Hello("printer-2nd-floor"); err != nil {
		return err
	}
	if err := client.Mail("scanner@contoso.com"); err != nil {
		return err
	}
	if err := client.Rcpt("alice@fabrikam.example"); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write(scan()); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return fmt.Errorf("the printer got the reply: %w", err)
	}
	return client.Quit()
}

// scan returns a message with an attachment, like those of scan-to-mail.
func scan() []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "From: Scanner <scanner@contoso.com>\r\nTo: alice@fabrikam.example\r\nSubject: Scan from the 2nd floor\r\n"+
		"Date: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=scan\r\n\r\n"+
		"--scan\r\nContent-Type: text/plain\r\n\r\nPlease find the scan attached.\r\n"+
		"--scan\r\nContent-Type: application/pdf; name=scan.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		time.Now().Format(time.RFC1123Z))
	encoded := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("%PDF-1.7 a page of the scan\n"), 3000))
	for len(encoded) > 76 {
		text.WriteString(encoded[:76] + "\r\n")
		encoded = encoded[76:]
	}
	text.WriteString(encoded + "\r\n--scan--\r\n")
	return text.Bytes()
}
