// Package report tells people what became of their mail: it reads Exchange
// Online's answers, what each means and what to do about it, and writes the
// notification that a sender gets (RFC 3464).
//
// It knows the answers that Exchange Online is known to give, and nobody's
// words are let out of their place in a notification. It is pure, and it must
// not know queues or connections, nor how a notification travels.
package report

import (
	"fmt"
	"strings"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Kind says what sort of fault an answer stands for.
type Kind string

// The kinds of answers, by what helps.
const (
	Wait          Kind = "wait"           // a little, with fewer connections
	WaitLong      Kind = "wait long"      // the address is throttled
	WaitReset     Kind = "wait for reset" // a daily limit
	Configuration Kind = "configuration"  // somebody must change something
	Message       Kind = "message"        // this message only
	Blocked       Kind = "blocked"        // stop, and never hammer
)

// Scope says whose mail an answer keeps back.
type Scope int

// The scopes of what is not about one message, the narrower last.
const (
	Whole   Scope = iota // all mail
	Account              // that of the mailbox that logged in
)

// Classification is an answer in plain words.
type Classification struct {
	Kind    Kind
	Scope   Scope
	Cause   string
	Cure    string
	Code    fault.Code // of the fault, where a front end has more to say about it
	Command string     // the cure's line for Exchange Online PowerShell; empty where it has none
}

// Text is the reading as one sentence for a client or a log.
func (r Classification) Text() string {
	if r.Command == "" {
		return r.Cause + ": " + r.Cure
	}
	return r.Cause + ": " + r.Cure + ": " + r.Command
}

// Classify finds the reading of a known answer.
func Classify(answer reply.Reply) (Classification, bool) {
	for _, known := range knownReplies {
		if known.matches(answer) {
			return known.reading, true
		}
	}
	return Classification{}, false
}

// Classifier finds the reading of a known answer to a message of that sender, as
// ReadFor does for Exchange Online's.
type Classifier func(answer reply.Reply, sender envelope.Address, trustee string) (Classification, bool)

// ClassifyFor finds the reading of a known answer to a message of that sender. The
// trustee is who needs the right to send as the sender, where somebody logged
// in; its cure is then filled in.
func ClassifyFor(answer reply.Reply, sender envelope.Address, trustee string) (Classification, bool) {
	reading, known := Classify(answer)
	if known && reading == sendAsDenied && sender != "" && trustee != "" {
		reading.Cure = "set senders.default, or give it Send As in Exchange Online PowerShell"
		reading.Command = fmt.Sprintf("Add-RecipientPermission -Identity %s -Trustee %s -AccessRights SendAs",
			argument(string(sender)), argument(trustee))
	}
	return reading, known
}

// IsSendAsDenied tells whether an answer says that a mailbox may not send as the
// message's sender.
func IsSendAsDenied(answer reply.Reply) bool {
	reading, known := Classify(answer)
	return known && reading == sendAsDenied
}

// argument is a text as PowerShell takes it for one argument: a sender is
// named by a stranger, and the line is meant to be pasted.
func argument(text string) string {
	if keep(text, letters+"@._-") == text && !strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "@") {
		return text
	}
	return "'" + strings.ReplaceAll(words(text), "'", "''") + "'"
}

// knownReply is one that Exchange Online is known for: by its status, or where
// the status says too little by a word of its text.
type knownReply struct {
	code    int
	first   reply.Status
	last    int // the last detail of a range; zero means first's only
	word    string
	reading Classification
}

func (a knownReply) matches(r reply.Reply) bool {
	if r.Code != a.code {
		return false
	}
	if a.word != "" {
		return strings.Contains(strings.ToLower(r.Text), strings.ToLower(a.word))
	}
	s := r.Status
	return s.Subject == a.first.Subject && s.Detail >= a.first.Detail && s.Detail <= max(a.last, a.first.Detail)
}

func status(class, subject, detail int) reply.Status {
	return reply.Status{Class: class, Subject: subject, Detail: detail}
}

// knownReplies is searched in order.
var knownReplies = []knownReply{
	{432, status(4, 3, 2), 0, "", Classification{Kind: Wait, Scope: Account, Cause: "too many connections at once", Cure: "wait; the box must use fewer"}},
	{451, status(4, 7, 500), 699, "", Classification{Kind: WaitLong, Cause: "Exchange Online is throttling this site's address", Cure: "wait; sending more makes it worse"}},
	{421, status(4, 3, 2), 0, "", Classification{Kind: Wait, Cause: "Exchange Online is busy", Cure: "wait"}},
	{550, status(5, 7, 64), 0, "", Classification{Kind: Configuration, Code: fault.ConnectorUnmatched, Cause: "no connector of the tenant matches this box", Cure: "check that the inbound connector names the certificate's domain, that this is an accepted domain, and that the chain is complete"}},
	{550, status(5, 7, 68), 0, "", Classification{Kind: Configuration, Cause: "the tenant rejects direct send", Cure: "use the connector method, or allow direct send in the tenant"}},
	{535, reply.Status{}, 0, "disabled for the tenant", Classification{Kind: Configuration, Scope: Account, Cause: "SMTP AUTH is off for the tenant",
		Cure: "switch it on for the mailbox: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false"}},
	{535, reply.Status{}, 0, "disabled for the mailbox", Classification{Kind: Configuration, Scope: Account, Cause: "SMTP AUTH is off for the mailbox",
		Cure: "switch it on: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false"}},
	{535, reply.Status{}, 0, "SmtpClientAuthentication is disabled", Classification{Kind: Configuration, Scope: Account, Cause: "SMTP AUTH is off for the tenant or the mailbox",
		Cure: "switch it on: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false"}},
	{535, status(5, 7, 139), 0, "", Classification{Kind: Configuration, Scope: Account, Cause: "the tenant's security defaults or a Conditional Access policy refused the login",
		Cure: "see the sign-in logs in Entra ID, and except the mailbox or the app from the policy that they name"}},
	{535, status(5, 7, 0), 999, "", loginRefused},
	{535, reply.Status{}, 0, "", loginRefused},
	{530, status(5, 7, 57), 0, "", loginRefused},
	{550, status(5, 7, 30), 0, "", Classification{Kind: Configuration, Cause: "passwords are no longer accepted", Cure: "use the connector or OAuth"}},
	{554, status(5, 2, 252), 0, "", sendAsDenied},
	{554, reply.Status{}, 0, "SendAsDenied", sendAsDenied},
	{550, status(5, 7, 60), 0, "", sendAsDenied},
	{554, reply.Status{}, 0, "SubmissionQuotaExceeded", dailyLimit},
	{550, status(5, 1, 90), 0, "", dailyLimit},
	{550, status(5, 7, 233), 0, "", dailyLimit},
	{550, status(5, 1, 8), 0, "bad outbound sender", Classification{Kind: Blocked, Scope: Account, Cause: "Exchange Online has blocked the sending account", Cure: "release it under Restricted entities in the Defender portal, and find out what it sent"}},
	{550, status(5, 6, 11), 0, "", Classification{Kind: Message, Cause: "the message holds bare line feeds", Cure: "report this as a fault of Sealpost"}},
	{550, status(5, 7, 606), 0, "", Classification{Kind: Configuration, Cause: "Exchange Online has banned this site's address", Cure: "ask for its removal at the Office 365 delist portal"}},
}

var (
	loginRefused = Classification{Kind: Configuration, Scope: Account, Cause: "Exchange Online refused the login", Cure: "check the app registration, its consent and the mailbox's permissions"}
	sendAsDenied = Classification{Kind: Message, Cause: "the mailbox may not send as this sender", Cure: "give it Send As: Add-RecipientPermission, or set senders.default"}
	dailyLimit   = Classification{Kind: WaitReset, Scope: Account, Cause: "the daily limit of recipients is reached", Cure: "it resets within 24 hours"}
)
