package report

import (
	"fmt"
	"mime"
	"strings"
	"time"

	"sealpost/relay/reply"
)

// maxListed is how many recipients the text lists. The machine-readable part
// lists all.
const maxListed = 50

// subject returns the notification's Subject, in ASCII.
func (n Notification) subject() string {
	what := "Undeliverable"
	switch n.Action {
	case Delayed:
		what = "Delayed"
	case Relayed:
		what = "Relayed"
	}
	return what + ": " + n.messageReference() + " of " + ascii(formatTime(n.Arrived))
}

// messageReference describes which message is concerned.
func (n Notification) messageReference() string {
	switch n.Sender {
	case n.To:
		return "your message"
	case "":
		return "message without a sender"
	}
	return "message from " + mailbox(n.Sender)
}

func formatTime(t time.Time) string { return t.Format("2 January 2006, 15:04 MST") }

// text returns the part for people.
func (n Notification) text(header []byte) string {
	var b strings.Builder
	paragraph := func(s string) { writeLine(&b, wrap("", "", s)+"\r\n") }
	by := "the mail relay " + host(n.Reporter)
	if site := singleLine(n.Site); site != "" {
		by = "the mail relay of " + site + " (" + host(n.Reporter) + ")"
	}
	switch n.Action {
	case Delayed:
		paragraph("This is " + by + ". The message below has not reached the recipients named here yet. You need not send it again: " + n.retryText())
	case Relayed:
		paragraph("This is " + by + ". The message below was passed on for the recipients named here, to a server that does not report delivery. You asked for this report, and it is the last one unless that server returns the message.")
	default:
		paragraph("This is " + by + ". The message below could not be delivered to the recipients named here, and delivery will not be retried. Once the cause is fixed, please send it again.")
	}
	if n.Sender != n.To {
		paragraph("You receive this because its sender could not be notified.")
	}
	n.writeMessage(&b, header)
	if reason := singleLine(n.Reason); reason != "" {
		paragraph("Why: " + reason + ".")
	}
	for i, o := range n.Outcomes {
		if i == maxListed {
			paragraph(fmt.Sprintf("... and %d more, listed in the attached delivery status.", len(n.Outcomes)-maxListed))
			break
		}
		n.writeRecipient(&b, o)
	}
	n.writeOthers(&b)
	return b.String()
}

// writeOthers writes what became of the message's other recipients.
func (n Notification) writeOthers(b *strings.Builder) {
	if len(n.Others) == 0 {
		return
	}
	writeLine(b, "The other recipients of the message:")
	for i, other := range n.Others {
		if i == maxListed {
			writeLine(b, fmt.Sprintf("... and %d more.", len(n.Others)-maxListed))
			break
		}
		writeLine(b, wrap("    ", "        ", mailbox(other.Recipient)+": "+string(other.State)))
	}
	writeLine(b, "")
}

func (n Notification) retryText() string {
	if n.RetryUntil.IsZero() {
		return "delivery is still being retried, and you will be notified if it fails."
	}
	return "delivery will be retried until " + formatTime(n.RetryUntil) + ", and you will be notified if it fails."
}

// writeMessage writes which message is concerned.
func (n Notification) writeMessage(b *strings.Builder, header []byte) {
	sender := mailbox(n.Sender)
	if n.Sender == "" {
		sender = "none was given"
	}
	for _, line := range []struct{ name, value string }{
		{"Sender:    ", sender},
		{"Received:  ", formatTime(n.Arrived)},
		{"Subject:   ", subjectOf(header)},
		{"Reference: ", singleLine(n.ID)},
	} {
		if line.value != "" {
			writeLine(b, wrap("    "+line.name, strings.Repeat(" ", 15), line.value))
		}
	}
	writeLine(b, "")
}

// subjectOf returns the original's Subject, decoded, or "".
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
		return singleLine(raw.String())
	}
	return singleLine(decoded)
}

// writeRecipient writes the outcome for one recipient.
func (n Notification) writeRecipient(b *strings.Builder, o Outcome) {
	const indent = "    "
	writeLine(b, mailbox(o.Recipient))
	if o.Reply.Code == 0 {
		writeLine(b, wrap(indent, indent, "No mail server replied for this recipient."))
	} else {
		by := "The server said"
		switch {
		case o.Own:
			by = "No mail server was asked"
		case o.Host != "":
			by = "The server " + host(o.Host) + " said"
		}
		if o.Route != "" && !o.Own {
			by += ", by " + singleLine(o.Route)
		}
		if n.Action != Relayed {
			n.writeExplanation(b, indent, o)
		}
		writeLine(b, wrap(indent, indent, by+": "+singleLine(o.Reply.String())))
	}
	writeLine(b, "")
}

// writeExplanation writes cause and cure of a reply. A command is not wrapped,
// so that it can be copied. General advice is given only for a failed message.
func (n Notification) writeExplanation(b *strings.Builder, indent string, o Outcome) {
	classify := n.Classify
	if classify == nil {
		classify = ClassifyFor
	}
	class, known := classify(o.Reply, n.Sender, o.Trustee)
	if !known {
		class = classifyByStatus(o.Reply)
	}
	sentence := class.Cause + ": " + class.Cure
	if !known && n.Action == Delayed {
		sentence = class.Cause
	}
	end := "."
	if class.Command != "" {
		end = ":"
	}
	writeLine(b, wrap(indent, indent, strings.ToUpper(sentence[:1])+sentence[1:]+end))
	if class.Command != "" {
		writeLine(b, indent+class.Command)
	}
}

// classifyByStatus classifies a reply that is not specific to Exchange Online
// by its enhanced status code (RFC 3463).
func classifyByStatus(r reply.Reply) Classification {
	s := r.Status
	for _, g := range []struct {
		subject, detail int // detail -1 matches any
		class           Classification
	}{
		{1, 1, noMailbox},
		{1, 10, noMailbox}, // RFC 7505: the domain accepts no mail
		{1, 2, Classification{Kind: Message, Cause: "there is no such domain", Cure: "check the domain, and send it again"}},
		{2, 2, Classification{Kind: Message, Cause: "the recipient's mailbox is full", Cure: "ask the recipient to make room, then send it again"}},
		{2, 3, tooLarge},
		{3, 4, tooLarge},
		{7, -1, Classification{Kind: Message, Cause: "the recipient's server does not allow this message", Cure: "show the reply below to its administrator"}},
	} {
		if s.Subject == g.subject && (s.Detail == g.detail || g.detail < 0) {
			return g.class
		}
	}
	if r.Transient() {
		return Classification{Kind: Wait, Cause: "the server deferred the message", Cure: "if this continues, show the reply below to the administrator of the relay"}
	}
	return Classification{Kind: Message, Cause: "the server refused the message for this recipient", Cure: "check the address; if it is right, show the reply below to the administrator of the relay"}
}

var (
	noMailbox = Classification{Kind: Message, Cause: "there is no such mailbox", Cure: "check the address, and send it again"}
	tooLarge  = Classification{Kind: Message, Cause: "the message is too large for the recipient", Cure: "send it in smaller parts, or scan it at a lower resolution"}
)
