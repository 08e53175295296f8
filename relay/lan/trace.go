package lan

import (
	"io"
	"net/netip"
	"strings"
)

// unfolder keeps content that begins with white space, which is no header,
// from becoming a continuation of our trace field.
type unfolder struct {
	io.Writer
	begun bool
}

func (u *unfolder) Write(p []byte) (int, error) {
	if !u.begun && len(p) > 0 {
		u.begun = true
		if p[0] == ' ' || p[0] == '\t' {
			if _, err := io.WriteString(u.Writer, "\r\n"); err != nil {
				return 0, err
			}
		}
	}
	return u.Writer.Write(p)
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
