package lan

import (
	"strings"

	"sealpost/relay/envelope"
)

// Lengths of RFC 3461 sections 4.2 and 4.4, in octets, and a limit of ours on all
// original recipients of a message, which must fit the queue's record however JSON
// escapes them; what is longer is ignored.
const (
	maxEnvelopeID = 100
	maxOriginal   = 500
	maxOriginals  = 128 << 10
)

// takeMailDSN parses the parameters of MAIL that RFC 3461 defines and returns the
// others unchanged. A value that is malformed is ignored: the client then gets what it would
// get without the parameter. go-smtp would reject the command, and it decodes xtext.
func takeMailDSN(parameters []string) (dsn envelope.DSN, others []string) {
	for _, parameter := range parameters {
		name, value, _ := strings.Cut(parameter, "=")
		switch strings.ToUpper(name) {
		case "RET":
			if r := envelope.Return(strings.ToUpper(value)); r == envelope.ReturnFull || r == envelope.ReturnHeader {
				dsn.Return = r
			}
		case "ENVID":
			if _, ok := envelope.DecodeXtext(value); ok && len(value) <= maxEnvelopeID {
				dsn.ID = value
			}
		default:
			others = append(others, parameter)
		}
	}
	return dsn, others
}

// takeRcptDSN does the same for RCPT. It leaves only NEVER together with
// another event for go-smtp to reject, because it is unclear which the client means.
func takeRcptDSN(parameters []string) (dsn envelope.RecipientDSN, others []string) {
	var events []string
	for _, parameter := range parameters {
		name, value, _ := strings.Cut(parameter, "=")
		switch strings.ToUpper(name) {
		case "NOTIFY":
			events = append(events, strings.Split(value, ",")...)
		case "ORCPT":
			if isOriginal(value) {
				dsn.Original = value
			}
		default:
			others = append(others, parameter)
		}
	}
	for _, event := range events {
		dsn.Notify |= envelope.EventNamed(event)
	}
	if dsn.Notify&envelope.NotifyNever != 0 && dsn.Notify != envelope.NotifyNever {
		others = append(others, "NOTIFY="+dsn.Notify.String())
	}
	return dsn, others
}

// isOriginal reports whether value is an address type and an address in xtext.
func isOriginal(value string) bool {
	kind, address, _ := strings.Cut(value, ";")
	_, ok := envelope.DecodeXtext(address)
	return ok && len(value) <= maxOriginal && envelope.IsAtom(kind)
}
