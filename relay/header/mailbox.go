package header

import (
	"regexp"
	"strings"
	"sync"
)

// mailbox is the first one of a field.
type mailbox struct {
	name    string // as it was written; empty where there is none
	address string // as it may stand in a field again; empty where there is none such
}

// word is one of a display name (RFC 5322 section 3.2.5): quoted, or of what
// mail programs put there without quotes, encoded words (RFC 2047) and octets
// above 127 among it.
const word = `(?:"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"|[^\x00-\x20"(),:;<>@\[\]\\\x7f]+)`

var (
	named = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[ \t]*(` + word + `(?:[ \t]*` + word + `)*)?[ \t]*<([^<>\s]*)>`)
	})
	bare = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[ \t]*([^\s<>,;:"()]+)`)
	})
)

// parseMailbox reads the first mailbox of a field's value. What it does not
// understand it leaves out.
func parseMailbox(value []byte) mailbox {
	if m := named().FindSubmatch(value); m != nil {
		return mailbox{name: strings.Join(strings.FieldsFunc(string(m[1]), isTabOrControl), " "), address: usable(string(m[2]))}
	}
	if m := bare().FindSubmatch(value); m != nil {
		return mailbox{address: usable(string(m[1]))}
	}
	return mailbox{}
}

func isTabOrControl(r rune) bool { return r < ' ' || r == 0x7f }

// addressed is an address that stands in a field as it is: what else is allowed
// there is too rare to be worth its dangers.
var addressed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+/=?^_{|}~.` + "`" + `-]{1,64}@[A-Za-z0-9_.-]{1,255}$`)
})

// usable is an address that may stand in a field, or nothing.
func usable(address string) string {
	if addressed().MatchString(address) {
		return address
	}
	return ""
}

// field writes a field of one mailbox, its address on a line of its own where
// the name is long. A name too long for a line is left out.
func field(title, name, address string) string {
	const long, tooLong = 60, 500
	switch {
	case name == "" || len(name) > tooLong:
		return title + ": " + address + "\r\n"
	case len(name) > long:
		return title + ": " + name + "\r\n <" + address + ">\r\n"
	}
	return title + ": " + name + " <" + address + ">\r\n"
}
