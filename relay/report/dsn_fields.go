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

// longestWords bounds what a stranger may say in one place, in characters. A
// field with so many still fits a line of 998 octets (RFC 5322 section 2.1.1).
const longestWords = 800

// status is the machine's part of the notification (RFC 3464 section 2).
func (n Notification) status() string {
	var b strings.Builder
	writeLine(&b, "Reporting-MTA: dns; "+host(n.Reporter))
	writeLine(&b, "Arrival-Date: "+n.Arrived.Format(time.RFC1123Z))
	for _, o := range n.Outcomes {
		writeLine(&b, "")
		writeLine(&b, "Final-Recipient: rfc822; "+mailbox(o.Recipient))
		writeLine(&b, "Action: "+string(n.Action))
		writeLine(&b, "Status: "+n.statusOf(o).String())
		if o.Host != "" {
			writeLine(&b, "Remote-MTA: dns; "+host(o.Host))
		}
		if o.Answer.Code != 0 {
			writeLine(&b, fold("Diagnostic-Code: smtp; "+ascii(words(o.Answer.String()))))
		}
		if !o.Tried.IsZero() {
			writeLine(&b, "Last-Attempt-Date: "+o.Tried.Format(time.RFC1123Z))
		}
		if n.Action == Delayed && !n.RetryUntil.IsZero() {
			writeLine(&b, "Will-Retry-Until: "+n.RetryUntil.Format(time.RFC1123Z))
		}
	}
	return b.String()
}

// statusOf is the outcome's status where it is one that fits the action, or
// what says as little as may be said.
func (n Notification) statusOf(o Outcome) reply.Status {
	s := o.Status
	known := s.Class == 4 || s.Class == 5 && n.Action == Failed
	if known && s.Subject >= 0 && s.Subject <= 999 && s.Detail >= 0 && s.Detail <= 999 {
		return s
	}
	if n.Action == Delayed {
		return status(4, 0, 0)
	}
	return status(5, 0, 0)
}

// mailbox is an address as a field wants it, quoted where it needs to be.
func mailbox(a envelope.Address) string {
	if _, err := envelope.ParseAddress(string(a)); err != nil {
		return ascii(words(string(a)))
	}
	path := a.Path()
	return path[1 : len(path)-1]
}

// host is a name or address literal with all else left out of it.
func host(s string) string {
	const longest = 255
	clean := keep(s, letters+".-_:[]")
	if clean == "" {
		return "unknown"
	}
	return clean[:min(len(clean), longest)]
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// keep leaves out all but these characters.
func keep(s, characters string) string {
	return strings.Map(func(r rune) rune {
		if !strings.ContainsRune(characters, r) {
			return -1
		}
		return r
	}, s)
}

// words is what somebody else wrote, as harmless words on one line.
func words(s string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	clean = strings.Join(strings.Fields(clean), " ")
	if runes := []rune(clean); len(runes) > longestWords {
		return strings.TrimSpace(string(runes[:longestWords])) + "..."
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

// fold breaks a field at its spaces (RFC 5322 section 2.2.3).
func fold(field string) string { return wrap("", " ", field) }

// wrap breaks words separated by single spaces into lines of 72 characters, or
// longer where a word is. The lines have no ending after the last.
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
