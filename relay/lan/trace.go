package lan

import (
	"bufio"
	"io"
	"net/netip"
	"strings"
)

// unfolded keeps content that begins with white space, which is no header,
// from becoming a continuation of our trace field.
func unfolded(content io.Reader) io.Reader {
	r := bufio.NewReader(content)
	if first, err := r.Peek(1); err == nil && (first[0] == ' ' || first[0] == '\t') {
		return io.MultiReader(strings.NewReader("\r\n"), r)
	}
	return r
}

// traceName is a client's EHLO argument as it may stand in a header: whatever
// could end the field or open a comment makes it "unknown".
func traceName(hello string) string {
	const most = 255
	unfit := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`();<>"\`, r) }
	if hello == "" || len(hello) > most || strings.IndexFunc(hello, unfit) >= 0 {
		return "unknown"
	}
	return hello
}

// addressLiteral is an IP address as RFC 5321 section 4.1.3 writes it.
func addressLiteral(client netip.Addr) string {
	client = client.Unmap().WithZone("")
	if client.Is4() {
		return "[" + client.String() + "]"
	}
	return "[IPv6:" + client.String() + "]"
}
