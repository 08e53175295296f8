package envelope

import (
	"strings"
	"testing"
)

func TestAddress_IsQuotedAsNeeded(t *testing.T) {
	for input, want := range map[string]string{
		"printer@contoso.com":     "<printer@contoso.com>",
		"scan.to.mail@Contoso.de": "<scan.to.mail@Contoso.de>",
		"scan to mail@contoso.de": `<"scan to mail"@contoso.de>`,
		`a>b@contoso.de`:          `<"a>b"@contoso.de>`,
		`a"b\c@contoso.de`:        `<"a\"b\\c"@contoso.de>`,
		"dot.@contoso.de":         `<"dot."@contoso.de>`,
		"root@[192.168.1.5]":      "<root@[192.168.1.5]>",
		"root@[IPv6:fe80::1]":     "<root@[IPv6:fe80::1]>",
		"ups@my_printer":          "<ups@my_printer>",
	} {
		address, err := ParseAddress(input)
		if err != nil || address.Path() != want {
			t.Errorf("%s: got %s, %v; want %s", input, address.Path(), err, want)
		}
	}
	if got := Address("").Path(); got != "<>" {
		t.Errorf("the null reverse-path prints as %s", got)
	}
}

func TestParseAddress_RejectsInvalidAddresses(t *testing.T) {
	for _, input := range []string{
		"", "printer", "@contoso.com", "a@", "a@b@contoso.com", "a@contoso..com", "a@con toso.com",
		"ä@contoso.com", "a@contösö.com", "a\r\nRCPT TO:<x@y>@contoso.com", "a@b>\r\nDATA",
		strings.Repeat("a", 65) + "@contoso.com", "a@" + strings.Repeat("b.", 128) + "com",
		"a@" + strings.Repeat("b", 64) + ".com", "a@[192.168.1", "a@[not-an-address]", "a@[fe80::1%eth0]",
	} {
		if address, err := ParseAddress(input); err == nil {
			t.Errorf("%q: got %q, want an error", input, address)
		}
	}
}

func TestDomain_IsLowerCase(t *testing.T) {
	if got := Address("printer@Contoso.COM").Domain(); got != "contoso.com" {
		t.Errorf("got %q", got)
	}
	if got := Address("").Domain(); got != "" {
		t.Errorf("the null reverse-path has the domain %q", got)
	}
}

// parsePath reads a path as a strict server does (RFC 5321 section 4.1.2): a local part of
// atoms or one quoted string, and a domain without spaces or brackets.
func parsePath(path string) (mailbox string, ok bool) {
	path, opened := strings.CutPrefix(path, "<")
	path, closed := strings.CutSuffix(path, ">")
	if !opened || !closed {
		return "", false
	}
	local, domain, found := strings.Cut(path, "@")
	if quoted, is := strings.CutPrefix(path, `"`); is {
		var b strings.Builder
		for found = false; quoted != "" && !found; {
			switch {
			case quoted[0] == '\\' && len(quoted) > 1:
				b.WriteByte(quoted[1])
				quoted = quoted[2:]
			case quoted[0] == '"':
				domain, found = strings.CutPrefix(quoted[1:], "@")
				if !found {
					return "", false
				}
			default:
				b.WriteByte(quoted[0])
				quoted = quoted[1:]
			}
		}
		local = b.String()
	} else if strings.ContainsAny(local, "\" ()<>[]:;,\\") {
		return "", false
	}
	return local + "@" + domain, found && domain != "" && !strings.ContainsAny(domain, " @<>(),;\"\\")
}

// FuzzParseAddress checks that what is accepted is printable ASCII and one mailbox, however
// a server reads its path.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{
		"printer@contoso.com", `"x y"@[127.0.0.1]`, `a"b\c>@contoso.com`, "a b@contoso.com", "a@b>\r\nRCPT TO:<c@d",
		"a@[IPv6:fe80::1]", "a@[IPv6:::ffff:192.0.2.1]", `"a"@b`, "a.@b", "a@b SIZE=1", "\u00e4@b", "a\x00@b", "<a@b>", "@a:b@c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, err := ParseAddress(s)
		if err != nil {
			return
		}
		path := address.Path()
		if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: got path %q, want printable ASCII", s, path)
		}
		got, ok := parsePath(path)
		if again, err := ParseAddress(got); !ok || err != nil || got != s || again != address {
			t.Errorf("%q: got path %q, which is read as %q, %v", s, path, got, err)
		}
	})
}
