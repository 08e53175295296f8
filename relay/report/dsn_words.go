package report

import (
	"fmt"
	"mime"
	"strings"
	"time"

	"sealpost/relay/reply"
)

// maxTold is how many recipients are told of in words. The machine's part of
// the notification has them all.
const maxTold = 50

// subject is the notification's Subject, in ASCII.
func (n Notification) subject() string {
	what := "Undeliverable"
	if n.Action == Delayed {
		what = "Delayed"
	}
	return what + ": " + n.naming() + " of " + ascii(when(n.Arrived))
}

// naming says which message it is, to its sender or to somebody else.
func (n Notification) naming() string {
	switch n.Sender {
	case n.To:
		return "your message"
	case "":
		return "message without a sender"
	}
	return "message from " + mailbox(n.Sender)
}

func when(t time.Time) string { return t.Format("2 January 2006, 15:04 MST") }

// text is the part for people.
func (n Notification) text(header []byte) string {
	var b strings.Builder
	paragraph := func(s string) { writeLine(&b, wrap("", "", s)+"\r\n") }
	by := "the mail relay " + host(n.Reporter)
	if site := words(n.Site); site != "" {
		by = "the mail relay of " + site + " (" + host(n.Reporter) + ")"
	}
	if n.Action == Delayed {
		paragraph("This is " + by + ". The message below has not reached the recipients named here yet. You need not send it again: " + n.promise())
	} else {
		paragraph("This is " + by + ". The message below could not be delivered to the recipients named here, and it is not tried any more. Once the cause is put right, send it to them again.")
	}
	if n.Sender != n.To {
		paragraph("You are told because its sender could not be.")
	}
	n.describe(&b, header)
	if reason := words(n.Reason); reason != "" {
		paragraph("Why: " + reason + ".")
	}
	for i, o := range n.Outcomes {
		if i == maxTold {
			paragraph(fmt.Sprintf("... and %d more, listed in the attached delivery status.", len(n.Outcomes)-maxTold))
			break
		}
		n.tell(&b, o)
	}
	return b.String()
}

func (n Notification) promise() string {
	if n.RetryUntil.IsZero() {
		return "it is still being tried, and you will hear if it fails."
	}
	return "it is tried until " + when(n.RetryUntil) + ", and you will hear if it fails."
}

// describe says which message this is about.
func (n Notification) describe(b *strings.Builder, header []byte) {
	sender := mailbox(n.Sender)
	if n.Sender == "" {
		sender = "none was given"
	}
	for _, line := range []struct{ name, value string }{
		{"Sender:    ", sender},
		{"Taken:     ", when(n.Arrived)},
		{"Subject:   ", subjectOf(header)},
		{"Reference: ", words(n.ID)},
	} {
		if line.value != "" {
			writeLine(b, wrap("    "+line.name, strings.Repeat(" ", 15), line.value))
		}
	}
	writeLine(b, "")
}

// subjectOf is the original's Subject for people; empty where there is none.
func subjectOf(header []byte) string {
	var raw strings.Builder
	found := false
	for line := range strings.SplitSeq(string(header), "\r\n") {
		folded := line != "" && (line[0] == ' ' || line[0] == '\t')
		if found && !folded {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		switch {
		case found:
			raw.WriteString(line)
		case strings.EqualFold(strings.TrimRight(name, " \t"), "Subject"):
			found = true
			raw.WriteString(value)
		}
	}
	decoded, err := new(mime.WordDecoder).DecodeHeader(raw.String())
	if err != nil {
		return words(raw.String())
	}
	return words(decoded)
}

// tell says what became of the message for one recipient.
func (n Notification) tell(b *strings.Builder, o Outcome) {
	const indent = "    "
	writeLine(b, mailbox(o.Recipient))
	if o.Answer.Code == 0 {
		writeLine(b, wrap(indent, indent, "No mail server gave an answer about this recipient."))
	} else {
		by := "The server"
		if o.Host != "" {
			by += " " + host(o.Host)
		}
		n.explain(b, indent, o)
		writeLine(b, wrap(indent, indent, by+" said: "+words(o.Answer.String())))
	}
	writeLine(b, "")
}

// explain is the answer in plain words, with what to do; a command is not
// broken, so that it can be copied. What general advises is for a message that
// has failed.
func (n Notification) explain(b *strings.Builder, indent string, o Outcome) {
	read := n.Classify
	if read == nil {
		read = ClassifyFor
	}
	reading, known := read(o.Answer, n.Sender, o.Trustee)
	if !known {
		reading = general(o.Answer)
	}
	plain := reading.Cause + ": " + reading.Cure
	if !known && n.Action == Delayed {
		plain = reading.Cause
	}
	end := "."
	if reading.Command != "" {
		end = ":"
	}
	writeLine(b, wrap(indent, indent, strings.ToUpper(plain[:1])+plain[1:]+end))
	if reading.Command != "" {
		writeLine(b, indent+reading.Command)
	}
}

// general reads an answer that is not one of Exchange Online's own by what
// RFC 3463 says of its status.
func general(answer reply.Reply) Classification {
	s := answer.Status
	for _, g := range []struct {
		subject, detail int // detail -1 is any
		reading         Classification
	}{
		{1, 1, noMailbox},
		{1, 10, noMailbox}, // RFC 7505: the domain takes no mail
		{1, 2, Classification{Kind: Message, Cause: "there is no such domain", Cure: "check what stands behind the @, and send it again"}},
		{2, 2, Classification{Kind: Message, Cause: "the recipient's mailbox is full", Cure: "ask the recipient to make room, then send it again"}},
		{2, 3, tooLarge},
		{3, 4, tooLarge},
		{7, -1, Classification{Kind: Message, Cause: "the recipient's side does not allow this message", Cure: "show the words below to whoever looks after its mail"}},
	} {
		if s.Subject == g.subject && (s.Detail == g.detail || g.detail < 0) {
			return g.reading
		}
	}
	if answer.Transient() {
		return Classification{Kind: Wait, Cause: "the server put the message off", Cure: "if this goes on, show the words below to whoever looks after the relay"}
	}
	return Classification{Kind: Message, Cause: "the server refused the message for this recipient", Cure: "check the address; if it is right, show the words below to whoever looks after the relay"}
}

var (
	noMailbox = Classification{Kind: Message, Cause: "there is no such mailbox", Cure: "check how the address is written, and send it again"}
	tooLarge  = Classification{Kind: Message, Cause: "the message is too large for the recipient", Cure: "send it in smaller parts, or scan it at a lower resolution"}
)
