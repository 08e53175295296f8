package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// maxTextLength limits foreign text in one place, in characters. A field of
// that length fits a line of 998 octets (RFC 5322 section 2.1.1).
const maxTextLength = 800

// status returns the machine-readable part (RFC 3464 section 2).
func (n Notification) status() string {
	var b strings.Builder
	if id, ok := envelope.DecodeXtext(n.EnvelopeID); ok {
		writeLine(&b, "Original-Envelope-Id: "+id)
	}
	writeLine(&b, "Reporting-MTA: dns; "+host(n.Reporter))
	writeLine(&b, "Arrival-Date: "+n.Arrived.Format(time.RFC1123Z))
	for _, o := range n.Outcomes {
		writeLine(&b, "")
		kind, original, _ := strings.Cut(o.Original, ";")
		if address, ok := envelope.DecodeXtext(original); ok {
			writeLine(&b, "Original-Recipient: "+filterCharacters(kind, letters+"-")+"; "+address)
		}
		writeLine(&b, "Final-Recipient: rfc822; "+mailbox(o.Recipient))
		writeLine(&b, "Action: "+string(n.Action))
		writeLine(&b, "Status: "+n.statusOf(o).String())
		if o.Host != "" {
			writeLine(&b, "Remote-MTA: dns; "+host(o.Host))
		}
		if o.Reply.Code != 0 && !o.Own {
			writeLine(&b, fold("Diagnostic-Code: smtp; "+ascii(singleLine(o.Reply.String()))))
		}
		if !o.LastAttempt.IsZero() {
			writeLine(&b, "Last-Attempt-Date: "+o.LastAttempt.Format(time.RFC1123Z))
		}
		if n.Action == Delayed && !n.RetryUntil.IsZero() {
			writeLine(&b, "Will-Retry-Until: "+n.RetryUntil.Format(time.RFC1123Z))
		}
	}
	return b.String()
}

// statusOf returns the outcome's status if it is valid for the action, else the
// general one.
func (n Notification) statusOf(o Outcome) reply.Status {
	s := o.Status
	known := s.Class == 4 && n.Action != Relayed || s.Class == 5 && n.Action == Failed || s.Class == 2 && n.Action == Relayed
	if known && s.Subject >= 0 && s.Subject <= 999 && s.Detail >= 0 && s.Detail <= 999 {
		return s
	}
	switch n.Action {
	case Delayed:
		return status(4, 0, 0)
	case Relayed:
		return status(2, 0, 0)
	}
	return status(5, 0, 0)
}

// mailbox returns an address as used in a field, quoted if necessary.
func mailbox(a envelope.Address) string {
	if _, err := envelope.ParseAddress(string(a)); err != nil {
		return ascii(singleLine(string(a)))
	}
	path := a.Path()
	return path[1 : len(path)-1]
}

// host returns a name or address literal without any other characters.
func host(s string) string {
	const maxLen = 255
	clean := filterCharacters(s, letters+".-_:[]")
	if clean == "" {
		return "unknown"
	}
	return clean[:min(len(clean), maxLen)]
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// filterCharacters removes all other characters.
func filterCharacters(s, characters string) string {
	return strings.Map(func(r rune) rune {
		if !strings.ContainsRune(characters, r) {
			return -1
		}
		return r
	}, s)
}

// singleLine returns foreign text as printable text on one line.
func singleLine(s string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	clean = strings.Join(strings.Fields(clean), " ")
	if runes := []rune(clean); len(runes) > maxTextLength {
		return strings.TrimSpace(string(runes[:maxTextLength])) + "..."
	}
	return clean
}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}

// fold folds a field at its spaces (RFC 5322 section 2.2.3).
func fold(field string) string { return wrap("", " ", field) }

// wrap breaks text at single spaces into lines of 72 characters, or longer for
// a longer word. The last line has no ending.
func wrap(first, rest, text string) string {
	const width = 72
	var b strings.Builder
	b.WriteString(first)
	column := len(first)
	for i, word := range strings.Split(text, " ") {
		switch {
		case i > 0 && column+1+len(word) > width:
			b.WriteString("\r\n" + rest)
			column = len(rest)
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// writeLine is for writers that keep their error until they are flushed.
func writeLine(w io.Writer, line string) { _, _ = fmt.Fprint(w, line, "\r\n") }
