package lan

import (
	"fmt"
	"slices"
	"strings"
)

// texts are the texts of go-smtp's replies and what a client gets instead, which
// says what to do on the device. A * stands for any text, and %s for that text.
// Replies that go-smtp cannot give here are absent; a test compares the list with
// its source.
var texts = []struct{ library, reply string }{
	{"* ESMTP Service Ready", "%s ESMTP Sealpost"},
	{"Roger, accepting mail from <*>", "sender <%s> accepted"},
	{"I'll make sure <*> gets this", "recipient <%s> accepted"},
	{"Go ahead. End your data with <CR><LF>.<CR><LF>", "end the message with CR LF . CR LF"},
	{"Continue", "chunk received"},
	{"I have successfully done nothing", "OK"},
	{"Session reset", "transaction reset"},
	{"Bye", "goodbye"},
	{"Cannot VRFY user, but will accept message", "addresses are not verified here; send the message"},

	{"Error: bad syntax", "the line is empty: send an SMTP command"},
	{"Bad command", "this is not an SMTP command: check that the device speaks SMTP on this port"},
	{"Syntax errors, * command unrecognized", "%s is not an SMTP command: check that the device speaks SMTP on this port"},
	{"* command not implemented", "%s is not supported, and no device needs it"},
	{"This is not a LMTP server", "this relay speaks SMTP, not LMTP: set the device to SMTP"},
	{"Too many errors. Quiting now", "too many wrong commands: check that the device speaks SMTP on this port"},
	{"Please introduce yourself first.", "send EHLO or HELO first"},
	{"Was expecting MAIL arg syntax of FROM:<address>", "the sender is not an address, such as MAIL FROM:<printer@example.com>: set the device's own mail address"},
	{"Was expecting RCPT arg syntax of TO:<address>", "the recipient is not an address, such as RCPT TO:<user@example.com>: correct it on the device"},
	{"Unable to parse MAIL ESMTP parameters", "a parameter of MAIL cannot be read"},
	{"Unable to parse RCPT ESMTP parameters", "a parameter of RCPT cannot be read"},
	{"Unable to parse SIZE as an integer", "SIZE of MAIL is not a number of octets"},
	{"Unknown BODY value", "BODY of MAIL is not 7BIT or 8BITMIME"},
	{"* is not implemented", "%s is not offered by this relay: turn it off on the device"},
	{"Unknown MAIL FROM argument", "a parameter of MAIL is not known to this relay: turn SMTP extensions off on the device"},
	{"Unknown RCPT TO argument", "a parameter of RCPT is not known to this relay: turn SMTP extensions off on the device"},
	{"Malformed NOTIFY parameter value", "NOTIFY=NEVER of RCPT contradicts another event: set NEVER alone on the device, or a list of SUCCESS, FAILURE and DELAY"},
	{"Missing MAIL FROM command.", "send MAIL first"},
	{"Missing RCPT TO command.", "send MAIL and RCPT first"},
	{"Maximum limit of * recipients reached", "a message may have %s recipients (limits.recipients): send the rest in another message"},
	{"MAIL not allowed during message transfer", "the previous message is not complete: send BDAT LAST or RSET first"},
	{"RCPT not allowed during message transfer", "the previous message is not complete: send BDAT LAST or RSET first"},
	{"DATA not allowed during message transfer", "the message has begun with BDAT: go on with BDAT"},
	{"DATA command should not have any arguments", "DATA has no argument"},
	{"Too long line, closing connection", "a command line may have 65536 octets"},
	{"Idle timeout, bye bye", "no command for too long (limits.idle)"},
	{"Connection error, sorry", "the connection failed"},
	{"Internal server error", "an error of this relay: try again later"},
}

// replyText returns what a client gets for a text of go-smtp.
func replyText(text string, messageSize int64) string {
	if slices.Contains(tooLargeTexts, text) {
		return tooLargeText(messageSize)
	}
	for _, t := range texts {
		before, after, variable := strings.Cut(t.library, "*")
		switch {
		case !variable && text == t.library:
			return t.reply
		case variable && len(text) >= len(before)+len(after) && strings.HasPrefix(text, before) && strings.HasSuffix(text, after):
			return strings.Replace(t.reply, "%s", text[len(before):len(text)-len(after)], 1)
		}
	}
	return text
}

// tooLargeTexts are go-smtp's for a message over the limit.
var tooLargeTexts = []string{"Max message size exceeded", "Maximum message size exceeded"}

func tooLargeText(messageSize int64) string {
	return fmt.Sprintf("the message is larger than %d octets (limits.message_size): have the device send less at a time, such as fewer pages or a lower resolution", messageSize)
}
