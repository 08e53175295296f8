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

// Action is the action field of RFC 3464 section 2.3.3.
type Action string

// The actions that are reported.
const (
	Failed  Action = "failed"  // given up
	Delayed Action = "delayed" // still being retried
	Relayed Action = "relayed" // accepted by a server that does not report delivery (RFC 3461 section 5.2.2)
)

// Outcome is the outcome for one recipient.
type Outcome struct {
	Recipient   envelope.Address
	Original    string       // envelope.RecipientDSN's; may be empty
	Reply       reply.Reply  // server's reply; Code 0 if there was none
	Status      reply.Status // RFC 3463; if invalid, 5.0.0 is reported, 4.0.0 for Delayed, 2.0.0 for Relayed
	Own         bool         // the reply is the relay's own: no server was asked
	Host        string       // server that replied; empty if none was reached
	Route       string       // delivery method of the attempt; empty if there is only one
	Trustee     string       // account that needs Send As permission; empty without a login
	LastAttempt time.Time    // zero if there was no attempt
}

// Other is a recipient of the message that a notification is not about.
type Other struct {
	Recipient envelope.Address
	State     OtherState
}

// OtherState is what became of such a recipient.
type OtherState string

// The states, as the text says them.
const (
	OtherRelayed OtherState = "passed on to its mail server"
	OtherPending OtherState = "still being tried"
	OtherFailed  OtherState = "given up"
)

// Notification is a delivery status notification (RFC 3464).
type Notification struct {
	Action     Action
	Reporter   string           // host name of the relay
	From       envelope.Address // author of the notification
	To         envelope.Address // the message's sender, or the site's alert address
	Sender     envelope.Address // sender of the message concerned
	Site       string           // site name; may be empty
	ID         string           // queue ID of the message concerned
	Unique     string           // unique ID: up to 60 letters, digits, hyphens and underscores
	Arrived    time.Time        // when the message was received
	Now        time.Time
	RetryUntil time.Time // for Delayed
	Outcomes   []Outcome
	Others     []Other         // told to people only: a machine expects what was requested
	EnvelopeID string          // envelope.DSN's; may be empty
	Return     envelope.Return // how much of the message is returned if it failed
	Reason     string          // reason without a full stop, if no reply gives one
	Classify   Classifier      // classifies the replies; nil means ClassifyFor
}

// Write writes the notification as lines ending in CRLF, with the header of the
// original message up to MaxHeader. If a message that failed is to be returned in
// full, the whole of it follows instead, unless it is larger than MaxOriginal or has
// lines that not every server relays; then its header must do. Octets above 127 occur
// only in a message returned in full. Write returns an error before writing anything
// if original cannot be read, From or To is invalid, or Unique or Outcomes is empty.
func (n Notification) Write(w io.Writer, original io.Reader) error {
	if err := n.check(); err != nil {
		return err
	}
	read, err := io.ReadAll(io.LimitReader(original, max(MaxHeader, MaxOriginal+1)))
	if err != nil {
		return fmt.Errorf("reading message %s: %w", n.ID, err)
	}
	header := headerOf(read)
	returned := part{"text/rfc822-headers", transferEncoding(header, n.boundary()), string(header)}
	if n.Action == Failed && n.Return == envelope.ReturnFull && isReturnable(read, n.boundary()) {
		returned = part{"message/rfc822", encodingOf(read), string(read)}
	}
	buffered := bufio.NewWriter(w)
	n.writeHeader(buffered, returned.encoding)
	if err := n.writeParts(buffered, header, returned); err != nil {
		return fmt.Errorf("writing the notification about message %s: %w", n.ID, err)
	}
	return buffered.Flush()
}

func (n Notification) check() error {
	for _, address := range []envelope.Address{n.From, n.To} {
		if _, err := envelope.ParseAddress(string(address)); err != nil {
			return fmt.Errorf("invalid address %q of the notification: %w", address, err)
		}
	}
	if n.token() == "" || len(n.Outcomes) == 0 {
		return fmt.Errorf("a notification about message %s needs a unique ID and at least one outcome", n.ID)
	}
	return nil
}

// part is a part of the notification.
type part struct{ contentType, encoding, content string }

// writeHeader writes the notification's header. A part of 8bit must be declared for the
// whole (RFC 2045 section 6.4).
func (n Notification) writeHeader(w *bufio.Writer, encoding string) {
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
	if encoding == "8bit" {
		writeLine(w, "Content-Transfer-Encoding: 8bit")
	}
	writeLine(w, "")
}

// token returns Unique as used in the Message-ID and the boundary.
func (n Notification) token() string {
	const maxLen = 60
	token := filterCharacters(n.Unique, letters+"-_")
	return token[:min(len(token), maxLen)]
}

// boundary returns a boundary that cannot occur in quoted-printable text or at
// the start of a field: "=_" is never an escape (RFC 2045 section 6.7).
func (n Notification) boundary() string { return "=_" + n.token() }

func (n Notification) writeParts(w io.Writer, header []byte, returned part) error {
	parts := multipart.NewWriter(w)
	if err := parts.SetBoundary(n.boundary()); err != nil {
		return err
	}
	for _, each := range []part{
		{"text/plain; charset=utf-8", "quoted-printable", n.text(header)},
		{"message/delivery-status", "7bit", n.status()},
		returned,
	} {
		to, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {each.contentType}, "Content-Transfer-Encoding": {each.encoding},
		})
		if err == nil {
			err = encode(to, each.encoding, each.content)
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
