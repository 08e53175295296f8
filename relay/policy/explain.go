package policy

import (
	"fmt"
	"strings"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Request is a message that a client would send.
type Request struct {
	Client     Client
	Sender     envelope.Address   // in MAIL
	Recipients []envelope.Address // in RCPT
	Authors    []envelope.Address // in the field From; none if there is no such field
}

// Decision is what would happen to the message of a Request.
type Decision struct {
	Steps      []Step             `json:"steps"`
	Sender     envelope.Address   `json:"sender"`           // under which it is sent
	Author     envelope.Address   `json:"author,omitempty"` // instead of those in From; empty if they stay
	Recipients []envelope.Address `json:"recipients"`       // to which it is sent
	// Refusal is the reply to the command after which the client cannot go on; the zero
	// Reply if the message is sent.
	Refusal reply.Reply `json:"-"`
	Sent    bool        `json:"sent"`
}

// Step is the decision on one part of the message.
type Step struct {
	Part    string `json:"part"` // "client", "login", "sender", "recipient" or "author"
	Outcome string `json:"outcome"`
	Rule    string `json:"rule"` // the settings that decide; empty if none had to
}

// Text is the outcome with the settings that decide, unless it names them already.
func (s Step) Text() string {
	if s.Rule == "" || strings.HasSuffix(s.Outcome, "("+s.Rule+")") {
		return s.Outcome
	}
	return s.Outcome + "  [" + s.Rule + "]"
}

// Decide decides on a whole message, as the relay does command by command.
func (p *Policy) Decide(r Request) Decision {
	var d Decision
	// note adds a step, and reports whether the message goes on.
	note := func(part string, v Verdict, outcome string, args ...any) bool {
		if v.Refused() {
			outcome, args = "refused: %s", []any{v.Reply}
		}
		d.Steps = append(d.Steps, Step{part, fmt.Sprintf(outcome, args...), v.Rule})
		return !v.Refused()
	}
	c := r.Client
	_, v := p.Connect(c)
	if !note("client", v, "%s may connect", c.Address.Unmap()) {
		d.Refusal = v.Reply
		return d
	}
	if c.User != nil {
		var used *User
		used, v = p.LogIn(c, *c.User)
		outcome := c.User.Name + " logs in"
		if used == nil {
			outcome = "every login is accepted, as no user"
		}
		if !note("login", v, "%s", outcome) {
			d.Refusal = v.Reply
			return d
		}
		c.User = used
	}
	d.Sender, v = p.Sender(c, r.Sender)
	outcome := fmt.Sprintf("%s stays", r.Sender.Path())
	if d.Sender != r.Sender {
		outcome = fmt.Sprintf("%s becomes %s", r.Sender.Path(), d.Sender.Path())
	}
	if !note("sender", v, "%s", outcome) {
		d.Refusal = v.Reply
		return d
	}
	for _, recipient := range r.Recipients {
		v := p.Recipient(c, recipient)
		if note("recipient", v, "%s is accepted", recipient.Path()) {
			d.Recipients = append(d.Recipients, recipient)
		} else if d.Refusal.Code == 0 {
			d.Refusal = v.Reply
		}
	}
	if len(d.Recipients) == 0 {
		return d
	}
	d.Refusal = reply.Reply{}
	d.Author, v = p.From(c, d.Sender, r.Authors)
	for _, author := range r.Authors {
		outcome := fmt.Sprintf("%s stays", author.Path())
		if d.Author != "" {
			outcome = fmt.Sprintf("%s becomes %s", author.Path(), d.Author.Path())
		}
		if !note("author", v, "%s", outcome) {
			d.Refusal = v.Reply
			return d
		}
	}
	d.Sent = true
	return d
}

// String returns one line for each step, and what would be sent.
func (d Decision) String() string {
	var b strings.Builder
	for _, step := range d.Steps {
		fmt.Fprintf(&b, "%-10s %s\n", step.Part, step.Text())
	}
	return b.String() + "result     " + d.Result()
}

// Result says what would be sent.
func (d Decision) Result() string {
	if !d.Sent {
		return "nothing would be sent"
	}
	var to []string
	for _, recipient := range d.Recipients {
		to = append(to, recipient.Path())
	}
	return fmt.Sprintf("it would be sent from %s to %s", d.Sender.Path(), strings.Join(to, ", "))
}
