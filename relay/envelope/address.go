package envelope

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Address is a mailbox, local-part@domain, without quoting. The empty Address
// is the null reverse-path.
type Address string

// Lengths of RFC 5321 section 4.5.3.1, in octets.
const (
	maxLocalPart = 64
	maxDomain    = 255
)

// ParseAddress validates a mailbox whose local part is already unquoted.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 {
		return "", errors.New("want name@domain")
	}
	local, domain := s[:at], s[at+1:]
	switch {
	case len(local) > maxLocalPart:
		return "", fmt.Errorf("the part before the @ is longer than %d characters", maxLocalPart)
	case len(domain) > maxDomain:
		return "", fmt.Errorf("the domain is longer than %d characters", maxDomain)
	case strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
		return "", errors.New("only printable ASCII characters are supported")
	case strings.Contains(local, "@"):
		return "", errors.New("more than one @")
	case !isDomain(domain):
		return "", fmt.Errorf("%q is not a domain", domain)
	}
	return Address(s), nil
}

// Domain returns the domain in lower case, or "" for the null reverse-path.
func (a Address) Domain() string {
	return strings.ToLower(string(a[strings.LastIndexByte(string(a), '@')+1:]))
}

// Path returns the address as in MAIL and RCPT, in angle brackets and with the
// local part quoted if necessary (RFC 5321 section 4.1.2).
func (a Address) Path() string {
	if a == "" {
		return "<>"
	}
	at := strings.LastIndexByte(string(a), '@')
	local, domain := string(a[:at]), string(a[at+1:])
	if !isDotString(local) {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	return "<" + local + "@" + domain + ">"
}

func isDomain(s string) bool {
	if literal, ok := strings.CutPrefix(s, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		address, err := netip.ParseAddr(strings.TrimPrefix(literal, "IPv6:"))
		return ok && err == nil && address.Zone() == ""
	}
	for _, label := range strings.Split(s, ".") {
		if len(label) > 63 || !consistsOf(label, labelCharacters) {
			return false
		}
	}
	return true
}

const (
	labelCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	atomCharacters  = labelCharacters + "!#$%&'*+/=?^`{|}~"
)

// isDotString reports whether a local part needs no quotes.
func isDotString(s string) bool {
	for _, atom := range strings.Split(s, ".") {
		if !consistsOf(atom, atomCharacters) {
			return false
		}
	}
	return true
}

// IsAtom reports whether s is an atom (RFC 5321 section 4.1.2).
func IsAtom(s string) bool { return consistsOf(s, atomCharacters) }

func consistsOf(s, characters string) bool {
	foreign := func(r rune) bool { return !strings.ContainsRune(characters, r) }
	return s != "" && strings.IndexFunc(s, foreign) < 0
}
