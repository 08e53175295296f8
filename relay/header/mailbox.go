package header

import (
	"regexp"
	"strings"
	"sync"
)

// mailbox is the first mailbox of a field.
type mailbox struct {
	name    string // as written; may be empty
	address string // valid for use in a field; may be empty
}

// word is one of a display name (RFC 5322 section 3.2.5): quoted, or of what
// mail programs put there without quotes, encoded words (RFC 2047) and octets
// above 127 among it.
const word = `(?:"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"|[^\x00-\x20"(),:;<>@\[\]\\\x7f]+)`

var (
	namedMailbox = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[ \t]*(` + word + `(?:[ \t]*` + word + `)*)?[ \t]*<([^<>\s]*)>`)
	})
	bareMailbox = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[ \t]*([^\s<>,;:"()]+)`)
	})
)

// parseMailbox parses the first mailbox of a field's value. Parts that it does
// not understand are omitted.
func parseMailbox(value []byte) mailbox {
	if m := namedMailbox().FindSubmatch(value); m != nil {
		return mailbox{name: strings.Join(strings.FieldsFunc(string(m[1]), isControl), " "), address: validAddress(string(m[2]))}
	}
	if m := bareMailbox().FindSubmatch(value); m != nil {
		return mailbox{address: validAddress(string(m[1]))}
	}
	return mailbox{}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// addressPattern matches addresses that need no quoting; the others are too
// rare to be worth the risk.
var addressPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+/=?^_{|}~.` + "`" + `-]{1,64}@[A-Za-z0-9_.-]{1,255}$`)
})

// validAddress returns the address if it may be used in a field, else "".
func validAddress(address string) string {
	if addressPattern().MatchString(address) {
		return address
	}
	return ""
}

// field returns a field with one mailbox; the address is on its own line if the
// name is long. A name that is too long for a line is omitted.
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
