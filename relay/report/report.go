// Package report classifies Exchange Online's replies by a table, with cause
// and cure, and writes delivery status notifications (RFC 3464).
//
// It knows Exchange Online's replies, and keeps foreign text within its field
// of a notification. It is pure. It must not know queues, connections, or how a
// notification is sent.
package report

import (
	"fmt"
	"strings"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Kind is the kind of fault that a reply indicates.
type Kind string

// The kinds of faults, by remedy.
const (
	Wait          Kind = "wait"           // wait, with fewer connections
	WaitLong      Kind = "wait long"      // the site's address is throttled
	WaitReset     Kind = "wait for reset" // a daily limit
	Configuration Kind = "configuration"  // a configuration change is needed
	Message       Kind = "message"        // only this message is affected
	Blocked       Kind = "blocked"        // stop sending; retry rarely
)

// Scope is whose mail a reply holds back.
type Scope int

// The scopes of faults that concern more than one message, the narrower last.
const (
	AllMail Scope = iota // all mail
	Account              // mail of the mailbox that logged in
)

// Classification is the meaning of a reply.
type Classification struct {
	Kind    Kind
	Scope   Scope
	Cause   string
	Cure    string
	Code    fault.Code // fault code, if a front end adds advice
	Command string     // command of the cure for Exchange Online PowerShell; may be empty
}

// Text returns cause and cure as one sentence for a client or a log.
func (c Classification) Text() string {
	if c.Command == "" {
		return c.Cause + ": " + c.Cure
	}
	return c.Cause + ": " + c.Cure + ": " + c.Command
}

// Classify returns the classification of a known reply.
func Classify(r reply.Reply) (Classification, bool) {
	for _, known := range knownReplies {
		if known.matches(r) {
			return known.class, true
		}
	}
	return Classification{}, false
}

// Classifier classifies a reply to a message of that sender, as ClassifyFor
// does for Exchange Online.
type Classifier func(r reply.Reply, sender envelope.Address, trustee string) (Classification, bool)

// ClassifyFor returns the classification of a known reply to a message of that
// sender. trustee is the account that needs Send As permission, empty without a
// login; the cure then contains the command.
func ClassifyFor(r reply.Reply, sender envelope.Address, trustee string) (Classification, bool) {
	class, known := Classify(r)
	if known && class == sendAsDenied && sender != "" && trustee != "" {
		class.Cure = "set senders.default, or give it Send As in Exchange Online PowerShell"
		class.Command = fmt.Sprintf("Add-RecipientPermission -Identity %s -Trustee %s -AccessRights SendAs",
			quoteArgument(string(sender)), quoteArgument(trustee))
	}
	return class, known
}

// IsSendAsDenied reports whether a reply means that a mailbox may not send as
// the message's sender.
func IsSendAsDenied(r reply.Reply) bool {
	class, known := Classify(r)
	return known && class == sendAsDenied
}

// quoteArgument quotes text as one PowerShell argument: the sender is chosen by
// a client, and the command is meant to be pasted.
func quoteArgument(text string) string {
	if filterCharacters(text, letters+"@._-") == text && !strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "@") {
		return text
	}
	return "'" + strings.ReplaceAll(singleLine(text), "'", "''") + "'"
}

// UnknownBlock is the classification of a policy rejection of MAIL that is not in the
// table and affects several messages.
var UnknownBlock = Classification{Kind: Configuration, Cause: "Exchange Online rejects mail whoever sends it",
	Cure: "look this status code up in Microsoft's list of non-delivery report codes, or ask Microsoft Support"}

// UnknownAccountBlock is its meaning if all of them were of one account.
var UnknownAccountBlock = Classification{Kind: Configuration, Scope: Account, Cause: "Exchange Online rejects the mail of this mailbox", Cure: UnknownBlock.Cure}

// knownReply matches one of Exchange Online's replies, by its status or, if
// that is too general, by a part of its text.
type knownReply struct {
	code       int
	status     reply.Status
	lastDetail int // last detail of a range; zero means only status.Detail
	text       string
	class      Classification
}

func (k knownReply) matches(r reply.Reply) bool {
	if r.Code != k.code {
		return false
	}
	if k.text != "" {
		return strings.Contains(strings.ToLower(r.Text), strings.ToLower(k.text))
	}
	s := r.Status
	return s.Subject == k.status.Subject && s.Detail >= k.status.Detail && s.Detail <= max(k.lastDetail, k.status.Detail)
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
	{554, status(5, 2, 270), 0, "", Classification{Kind: Message, Cause: "the message is too large after conversion by Exchange Online", Cure: "have the device send less at a time"}},
	{550, status(5, 7, 232), 0, "", dailyLimit},
	{550, status(5, 7, 236), 0, "", Classification{Kind: WaitReset, Cause: "senders at onmicrosoft.com may send to 100 external recipients a day", Cure: "use an address in a domain of your own; the limit resets within 24 hours"}},
	{550, status(5, 7, 501), 503, "", Classification{Kind: Blocked, Scope: Account, Cause: "Exchange Online has blocked the sender for spam", Cure: "find out what it sent, release it under Restricted entities in the Defender portal, or ask Microsoft Support"}},
	{501, status(5, 5, 4), 0, "Invalid domain name", helloRejected},
	{550, status(5, 7, 506), 0, "", helloRejected},
	{550, status(5, 7, 508), 0, "", Classification{Kind: WaitLong, Cause: "this site's address has exceeded its limit", Cure: "wait; sending more makes it worse"}},
	{550, status(5, 7, 510), 0, "", Classification{Kind: Configuration, Cause: "the tenant does not accept mail over IPv6", Cure: "have the box reach it over IPv4"}},
	{550, status(5, 7, 511), 0, "", siteBanned},
	{550, status(5, 7, 606), 649, "", siteBanned},
	{550, status(5, 7, 700), 702, "", tenantBlocked},
	{550, status(5, 7, 705), 0, "", tenantBlocked},
	{550, status(5, 7, 708), 0, "", Classification{Kind: Blocked, Cause: "Exchange Online does not accept this tenant's mail from this site's address", Cure: "ask Microsoft Support to lift it; new tenants meet it often"}},
	{550, status(5, 7, 711), 0, "", Classification{Kind: Blocked, Cause: "Exchange Online has blocked the tenant's inbound connector as compromised", Cure: "find out what was sent through it, then run in Exchange Online PowerShell, which takes up to an hour", Command: "Get-BlockedConnector | Remove-BlockedConnector"}},
	{550, status(5, 7, 750), 0, "", Classification{Kind: Configuration, Cause: "Exchange Online has blocked the tenant for mail from domains that it does not have", Cure: "add the senders' domains to the tenant and to senders.accepted_domains, then ask Microsoft Support to lift the block"}},
}

var (
	loginRefused  = Classification{Kind: Configuration, Scope: Account, Cause: "Exchange Online refused the login", Cure: "check the app registration, its consent and the mailbox's permissions"}
	sendAsDenied  = Classification{Kind: Message, Cause: "the mailbox may not send as this sender", Cure: "give it Send As: Add-RecipientPermission, or set senders.default"}
	siteBanned    = Classification{Kind: Configuration, Cause: "Exchange Online has banned this site's address", Cure: "ask for its removal at https://sender.office.com"}
	helloRejected = Classification{Kind: Configuration, Cause: "Exchange Online rejects the name by which the box greets it", Cure: "set lan.hostname to a full domain name, such as relay.example.com"}
	tenantBlocked = Classification{Kind: Blocked, Cause: "Exchange Online has blocked outgoing mail of the tenant, because it exceeded a threshold", Cure: "an administrator must find what sent so much, and then ask Microsoft Support to lift the block; after a subscription was renewed it ends by itself within a day"}
	dailyLimit    = Classification{Kind: WaitReset, Scope: Account, Cause: "the daily limit of recipients is reached", Cure: "it resets within 24 hours"}
)
