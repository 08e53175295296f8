package header

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// The syntax of a mailbox without comments (RFC 5322 sections 3.2 and 3.4). A period in a
// phrase is obsolete but common.
const (
	atom         = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	dotAtom      = atom + `(?:\.` + atom + `)*`
	quotedString = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f-\xff]|\\[\t -~])*"`
	addrSpec     = `((?:` + dotAtom + `|` + quotedString + `)@(` + dotAtom + `|\[[^\[\]\\\s]*\]))`
	phrase       = `(?:(?:` + atom + `|` + quotedString + `)(?:[ \t]*(?:` + atom + `|\.|` + quotedString + `))*)`
)

var (
	mailboxSyntax = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:` + phrase + `?[ \t]*<[ \t]*` + addrSpec + `[ \t]*>|` + addrSpec + `)[ \t]*`)
	})
	groupSyntax = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^` + phrase + `[ \t]*:`) })
)

// addresses returns the addresses of a list in which octets above 127 are allowed in
// names, or nil if it is not well-formed or has none.
func addresses(value []byte) (all []string) {
	if address, found := plainAddress(value); found {
		return []string{address}
	}
	rest, ok := withoutComments(bytes.ReplaceAll(encodeAddresses(value, 0), []byte("\r\n"), nil))
	inGroup, separated := false, true
	for rest = strings.TrimLeft(rest, " \t"); ok && rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if group := groupSyntax().FindString(rest); group != "" && !inGroup && separated {
			rest, inGroup = rest[len(group):], true
			continue
		}
		switch {
		case rest[0] == ',':
			rest, separated = rest[1:], true
		case rest[0] == ';' && inGroup:
			rest, inGroup, separated = rest[1:], false, false
		default:
			m := mailboxSyntax().FindStringSubmatch(rest)
			if m == nil || !separated || !isDomain(m[2]+m[4]) || hasEncodedWord(m[1]+m[3]) {
				return nil
			}
			all = append(all, m[1]+m[3])
			rest, separated = rest[len(m[0]):], false
		}
	}
	if !ok || inGroup {
		return nil
	}
	return all
}

// plainAddress returns the address if a value is nothing but an addr-spec of two dot-atoms,
// in angle brackets or not, as that of most devices is. It is for speed only.
func plainAddress(value []byte) (address string, found bool) {
	value = bytes.Trim(value, " \t\r\n")
	if inside, opened := bytes.CutPrefix(value, []byte("<")); opened {
		if value, found = bytes.CutSuffix(inside, []byte(">")); !found {
			return "", false
		}
	}
	local, domain, found := bytes.Cut(value, []byte("@"))
	if !found || !isDotAtom(local) || !isDotAtom(domain) || hasEncodedWord(string(value)) {
		return "", false
	}
	return string(value), true
}

// isDotAtom reports whether a text is a dot-atom-text (RFC 5322 section 3.2.3).
func isDotAtom(text []byte) bool {
	previous := byte('.')
	for _, c := range text {
		switch {
		case c == '.' && previous == '.':
			return false
		case c == '.', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte("!#$%&'*+/=?^_`{|}~-"), c) >= 0:
		default:
			return false
		}
		previous = c
	}
	return previous != '.'
}

// hasEncodedWord reports whether an address may contain an encoded word, which RFC 2047
// section 5 forbids: some mail programs decode it, and show another address.
func hasEncodedWord(address string) bool { return strings.Contains(address, "=?") }

// isDomain reports whether a domain literal holds an IP address.
func isDomain(domain string) bool {
	literal, is := strings.CutPrefix(domain, "[")
	if !is {
		return true
	}
	_, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "IPv6:"))
	return err == nil
}

// withoutComments replaces each comment by a space. It returns false if one has no end.
func withoutComments(text []byte) (string, bool) {
	var b strings.Builder
	for len(text) > 0 {
		n := bytes.IndexAny(text, `"()`)
		if n < 0 {
			n = len(text)
		} else if n == 0 {
			if text[0] == '"' {
				n = quotedStringLength(text)
				b.Write(text[:n])
			} else if text[0] == '(' {
				n = commentLength(text)
				b.WriteByte(' ')
			}
			if n == 0 {
				return "", false
			}
			text = text[n:]
			continue
		}
		b.Write(text[:n])
		text = text[n:]
	}
	return b.String(), true
}
