package lan

import (
	"net/netip"
	"strings"
)

// traceName returns the EHLO argument for the trace field, or "unknown" if it
// contains characters that could end the field or open a comment.
func traceName(hello string) string {
	const maxName = 255
	invalid := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`();<>"\`, r) }
	if hello == "" || len(hello) > maxName || strings.IndexFunc(hello, invalid) >= 0 {
		return "unknown"
	}
	return hello
}

// addressLiteral formats an IP address as in RFC 5321 section 4.1.3.
func addressLiteral(client netip.Addr) string {
	client = client.Unmap().WithZone("")
	if client.Is4() {
		return "[" + client.String() + "]"
	}
	return "[IPv6:" + client.String() + "]"
}
