package report

import (
	"strings"
	"testing"
)

func TestNotification_ContainsOnlyTheOriginalHeader(t *testing.T) {
	for name, c := range map[string]struct{ original, want string }{
		"with a body":                {"A: 1\r\nB: 2\r\n\r\nC: body", "A: 1\r\nB: 2\r\n"},
		"with a folded field":        {"A: 1\r\n\t2\r\n 3\r\n\r\n", "A: 1\r\n\t2\r\n 3\r\n"},
		"with line feeds only":       {"A: 1\n B\n\nbody", "A: 1\r\n B\r\n"},
		"without an empty line":      {"A: 1\r\nsecret words\r\nB: 2\r\n", "A: 1\r\n"},
		"without a header":           {"secret: no\rx", "secret: no x\r\n"},
		"with a body that is folded": {" secret", ""},
		"with a field without name":  {": secret", ""},
		"of nothing":                 {"", ""},
		"with a line without an end": {"A: 1", "A: 1\r\n"},
		"with octets above 127":      {"Subject: f\xfcr \xe2\x82\xac\r\n", "Subject: f\xfcr \xe2\x82\xac\r\n"},
		"with NUL":                   {"Subject: a\x00b\r\n", "Subject: a\x00b\r\n"},
		"with trailing spaces":       {"A: 1  \r\nB: \xff \r\n", "A: 1  \r\nB: \xff \r\n"},
		"with a line of 5000":        {"A: " + strings.Repeat("x", 5000) + "\r\n", "A: " + strings.Repeat("x", 5000) + "\r\n"},
		"with our boundary":          {"--=_7K2M-1: x\r\n--=_7K2M-1--:\r\n", "--=_7K2M-1: x\r\n--=_7K2M-1--:\r\n"},
		"with one endless line":      {"A: " + strings.Repeat("x", 2*MaxHeader), ""},
	} {
		if got := mustParse(t, failure(), c.original).original; got != c.want {
			t.Errorf("a message %s shows %q, want %q", name, got, c.want)
		}
	}
}

func TestNotification_TruncatesALongHeader(t *testing.T) {
	line := "X-Filler: " + strings.Repeat("y", 90) + "\n"
	got := mustParse(t, failure(), strings.Repeat(line, 2000)).original
	if len(got) > MaxHeader || len(got) < MaxHeader-2*len(line) || strings.ReplaceAll(got, strings.ReplaceAll(line, "\n", "\r\n"), "") != "" {
		t.Errorf("%d octets, ending in %q", len(got), got[len(got)-120:])
	}
}
