package report

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Action is what was done with a message for a recipient, in the words of
// RFC 3464 section 2.3.3.
type Action string

// The actions that a sender is told of.
const (
	Failed  Action = "failed"  // given up
	Delayed Action = "delayed" // still being tried
)

// Outcome is what became of a message for one recipient.
type Outcome struct {
	Recipient envelope.Address
	Answer    reply.Reply  // the far side's words; zero Code where there was none
	Status    reply.Status // RFC 3463; what is none counts as 5.0.0, or 4.0.0 where delayed
	Host      string       // who answered; empty where nobody was reached
	Trustee   string       // who needs the right to send as the sender; empty where nobody logged in
	Tried     time.Time    // the last attempt; zero where none was made
}

// Notification tells somebody what became of a message: a delivery status
// notification of RFC 3464.
type Notification struct {
	Action     Action
	Reporter   string           // the host name of this box
	From       envelope.Address // of the notification itself
	To         envelope.Address // the sender who is told, or the site's alert address
	Sender     envelope.Address // of the message it tells about
	Site       string           // the site's name for people; may be empty
	ID         string           // the box's name for the message it tells about
	Unique     string           // up to 60 letters, digits, hyphens and underscores, never the same twice
	Arrived    time.Time        // when the box took the message
	Now        time.Time
	RetryUntil time.Time // with Delayed
	Outcomes   []Outcome
	Reason     string     // why, in plain words without a full stop, where no answer says so
	Classify   Classifier // of the outcomes' answers; nil is ReadFor
}

// Write writes the notification, in CRLF lines of ASCII, with the header
// section of the message it tells about, as far as MaxHeader. It fails before
// it wrote anything where original cannot be read, From or To is no address,
// or Unique or Outcomes is empty.
func (n Notification) Write(w io.Writer, original io.Reader) error {
	if err := n.check(); err != nil {
		return err
	}
	header, err := readHeader(original)
	if err != nil {
		return fmt.Errorf("reading the header of message %s: %w", n.ID, err)
	}
	buffered := bufio.NewWriter(w)
	n.writeHeader(buffered)
	if err := n.writeParts(buffered, header); err != nil {
		return fmt.Errorf("writing the notification about message %s: %w", n.ID, err)
	}
	return buffered.Flush()
}

func (n Notification) check() error {
	for _, address := range []envelope.Address{n.From, n.To} {
		if _, err := envelope.ParseAddress(string(address)); err != nil {
			return fmt.Errorf("the notification's address %q: %w", address, err)
		}
	}
	if n.token() == "" || len(n.Outcomes) == 0 {
		return fmt.Errorf("a notification about message %s needs a name of its own and a recipient to tell of", n.ID)
	}
	return nil
}

func (n Notification) writeHeader(w *bufio.Writer) {
	domain := host(n.Reporter)
	contentType := mime.FormatMediaType("multipart/report", map[string]string{
		"report-type": "delivery-status", "boundary": n.boundary(),
	})
	for _, f := range []string{
		"From: " + n.From.Path(),
		"To: " + n.To.Path(),
		fold("Subject: " + n.subject()),
		"Date: " + n.Now.Format(time.RFC1123Z),
		"Message-ID: <" + n.token() + "@" + domain + ">",
		"Auto-Submitted: auto-replied",
		"MIME-Version: 1.0",
		fold("Content-Type: " + contentType),
	} {
		writeLine(w, f)
	}
	writeLine(w, "")
}

// token is Unique as it may stand in a Message-ID and a boundary.
func (n Notification) token() string {
	const longest = 60
	token := keep(n.Unique, letters+"-_")
	return token[:min(len(token), longest)]
}

// boundary cannot occur in quoted-printable, nor where a field begins with
// its name: "=_" is never an escape (RFC 2045 section 6.7).
func (n Notification) boundary() string { return "=_" + n.token() }

func (n Notification) writeParts(w io.Writer, header []byte) error {
	parts := multipart.NewWriter(w)
	if err := parts.SetBoundary(n.boundary()); err != nil {
		return err
	}
	encoding := transferEncoding(header, n.boundary())
	for _, part := range []struct{ contentType, encoding, content string }{
		{"text/plain; charset=utf-8", "quoted-printable", n.text(header)},
		{"message/delivery-status", "7bit", n.status()},
		{"text/rfc822-headers", encoding, string(header)},
	} {
		to, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {part.contentType}, "Content-Transfer-Encoding": {part.encoding},
		})
		if err == nil {
			err = encode(to, part.encoding, part.content)
		}
		if err != nil {
			return err
		}
	}
	return parts.Close()
}

func encode(w io.Writer, encoding, content string) error {
	if encoding != "quoted-printable" {
		_, err := io.WriteString(w, content)
		return err
	}
	encoder := quotedprintable.NewWriter(w)
	if _, err := io.WriteString(encoder, content); err != nil {
		return err
	}
	return encoder.Close()
}
