package report

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"

	"sealpost/relay/envelope"
)

// Alert is a mail to the people who look after the relay, about the site and not about
// one message.
type Alert struct {
	From, To envelope.Address
	Reporter string // our host name
	Site     string // for people; may be empty
	Unique   string // for the Message-ID
	Now      time.Time
	Subject  string
	Text     string
}

// Write writes the mail (RFC 5322).
func (a Alert) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	subject := "[Sealpost] " + singleLine(a.Subject)
	if a.Site != "" {
		subject = fmt.Sprintf("[Sealpost %s] %s", singleLine(a.Site), singleLine(a.Subject))
	}
	for _, field := range []string{
		"From: " + a.From.Path(),
		"To: " + a.To.Path(),
		fold("Subject: " + mime.QEncoding.Encode("utf-8", subject)),
		"Date: " + a.Now.Format(time.RFC1123Z),
		"Message-ID: <" + filterCharacters(a.Unique, letters+"-_") + "@" + host(a.Reporter) + ">",
		"Auto-Submitted: auto-generated", // RFC 3834
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: quoted-printable",
		"",
	} {
		writeLine(b, field)
	}
	if err := encode(b, "quoted-printable", strings.ReplaceAll(a.Text, "\n", "\r\n")+"\r\n"); err != nil {
		return err
	}
	return b.Flush()
}
