package reply

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func read(s string) (Reply, error) {
	return Read(bufio.NewReaderSize(strings.NewReader(s), 16), func(string) {})
}

func TestRead_SplitsCodeStatusAndText(t *testing.T) {
	for _, c := range []struct {
		wire string
		want Reply
	}{
		{"250 OK\r\n", Reply{Code: 250, Text: "OK"}},
		{"250\r\n", Reply{Code: 250}},
		{"250 2.1.0 Sender OK\r\n", Reply{250, Status{2, 1, 0}, "Sender OK"}},
		{"550 5.7.64 TenantAttribution; Relay Access Denied\n", Reply{550, Status{5, 7, 64}, "TenantAttribution; Relay Access Denied"}},
		{"250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", Reply{Code: 250, Text: "mx.example\nSIZE 1000\nPIPELINING"}},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", Reply{550, Status{5, 1, 1}, "no such\nuser"}},
		{"250 4.1.0 contradiction\r\n", Reply{Code: 250, Text: "4.1.0 contradiction"}},
		{"250 2.1 short\r\n", Reply{Code: 250, Text: "2.1 short"}},
		{"220 \x1b[2Jgone\r\n", Reply{Code: 220, Text: "\ufffd[2Jgone"}},
	} {
		got, err := read(c.wire)
		if err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v; want %+v", c.wire, got, err, c.want)
		}
	}
}

func TestRead_RejectsInvalidReplies(t *testing.T) {
	for name, c := range map[string]struct {
		wire string
		want error
	}{
		"a line of 100,000 characters": {"250 " + strings.Repeat("x", 100_000) + "\r\n", ErrLineTooLong},
		"a reply without an end":       {strings.Repeat("250-more\r\n", 10_000), ErrTooManyLines},
		"two codes in one reply":       {"250-yes\r\n550 no\r\n", ErrMalformed},
		"no code":                      {"hello\r\n", ErrMalformed},
		"a code out of range":          {"999 hello\r\n", ErrMalformed},
		"a preliminary code":           {"150 hello\r\n", ErrMalformed},
		"no separator":                 {"2500\r\n", ErrMalformed},
		"an empty line":                {"\r\n", ErrMalformed},
		"half a line":                  {"250 O", io.EOF},
	} {
		if _, err := read(c.wire); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestRead_RemovesControlCharacters(t *testing.T) {
	for given, want := range map[string]string{
		"\x1b[2J":               "\ufffd[2J",
		"\u009b2J":              "\ufffd2J", // CSI in one character (ECMA-48)
		"a\u202eb\u2028c":       "a\ufffdb\ufffdc",
		"Zugriff für\u00a0Büro": "Zugriff für Büro",
	} {
		if r, err := read("550 " + given + "\r\n"); err != nil || r.Text != want {
			t.Errorf("%q: got %q, %v, want %q", given, r.Text, err, want)
		}
	}
}

func TestReply_PrintsOnOneLine(t *testing.T) {
	got := Reply{550, Status{5, 1, 1}, "no such\nuser"}.String()
	if want := "550 5.1.1 no such user"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("250-a\r\n250 2.0.0 b\r\n")
	f.Add("550 5.7.64 x\n")
	f.Add("2")
	f.Fuzz(func(t *testing.T, wire string) {
		r, err := read(wire)
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || strings.ContainsAny(r.String(), "\r\n\x00\x1b") {
			t.Errorf("%q: got invalid reply %+v", wire, r)
		}
		if !r.Status.IsZero() && r.Status.Class != r.Code/100 {
			t.Errorf("%q: status %s contradicts code %d", wire, r.Status, r.Code)
		}
	})
}
