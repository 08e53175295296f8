package lan

import (
	"io"
	"net/netip"
	"strings"
)

// foldGuard keeps content that begins with white space from becoming a
// continuation of our trace field.
type foldGuard struct {
	io.Writer
	begun bool
}

func (g *foldGuard) Write(p []byte) (int, error) {
	if !g.begun && len(p) > 0 {
		g.begun = true
		if p[0] == ' ' || p[0] == '\t' {
			if _, err := io.WriteString(g.Writer, "\r\n"); err != nil {
				return 0, err
			}
		}
	}
	return g.Writer.Write(p)
}

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
