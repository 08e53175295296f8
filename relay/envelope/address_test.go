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

func FuzzParseAddress(f *testing.F) {
	f.Add("printer@contoso.com")
	f.Add(`"x y"@[127.0.0.1]`)
	f.Fuzz(func(t *testing.T, s string) {
		address, err := ParseAddress(s)
		if err != nil {
			return
		}
		if path := address.Path(); strings.ContainsAny(path, "\r\n\x00") || !strings.HasSuffix(path, ">") {
			t.Errorf("%q: got path %q, want one line in angle brackets", s, path)
		}
	})
}
