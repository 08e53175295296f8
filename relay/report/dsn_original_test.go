package report

import (
	"strings"
	"testing"

	"sealpost/relay/envelope"
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

func TestNotification_ReturnsTheWholeMessageIfAsked(t *testing.T) {
	const header = "Subject: x\r\n"
	const whole, eightBit, headerOnly = "message/rfc822 7bit", "message/rfc822 8bit", "text/rfc822-headers 7bit"
	full := func(size int) string {
		return header + "\r\n" + strings.Repeat(strings.Repeat("y", 62)+"\r\n", size/64)[len(header)+2:]
	}
	for name, c := range map[string]struct {
		action   Action
		ret      envelope.Return
		original string
		want     string
	}{
		"whole":                     {Failed, envelope.ReturnFull, header + "\r\nbody\r\n", whole},
		"without a header":          {Failed, envelope.ReturnFull, "body\r\n", whole},
		"with octets above 127":     {Failed, envelope.ReturnFull, header + "\r\nf\xc3\xbcr\r\n", eightBit},
		"of the maximum size":       {Failed, envelope.ReturnFull, full(MaxOriginal), whole},
		"larger":                    {Failed, envelope.ReturnFull, full(MaxOriginal) + "\r\n", headerOnly},
		"much larger":               {Failed, envelope.ReturnFull, full(20 * MaxOriginal), headerOnly},
		"with a long line":          {Failed, envelope.ReturnFull, header + "\r\n" + strings.Repeat("y", 999) + "\r\n", headerOnly},
		"with NUL":                  {Failed, envelope.ReturnFull, header + "\r\n\x00\r\n", headerOnly},
		"with a bare CR":            {Failed, envelope.ReturnFull, header + "\r\na\rb\r\n", headerOnly},
		"with a bare LF":            {Failed, envelope.ReturnFull, header + "\r\na\nb\r\n", headerOnly},
		"without an end":            {Failed, envelope.ReturnFull, header + "\r\na", headerOnly},
		"with our boundary":         {Failed, envelope.ReturnFull, header + "\r\n--=_7K2M-1--\r\n", headerOnly},
		"that is delayed":           {Delayed, envelope.ReturnFull, header + "\r\nbody\r\n", headerOnly},
		"that is relayed":           {Relayed, envelope.ReturnFull, header + "\r\nbody\r\n", headerOnly},
		"whose header is requested": {Failed, envelope.ReturnHeader, header + "\r\nbody\r\n", headerOnly},
		"without RET":               {Failed, "", header + "\r\nbody\r\n", headerOnly},
	} {
		n := failure()
		n.Action, n.Return = c.action, c.ret
		raw := write(t, n, c.original)
		p, err := parse(raw)
		if err != nil {
			t.Errorf("message %s: got error %v in\n%.2000s", name, err, raw)
			continue
		}
		original := header
		if c.want != headerOnly {
			original = c.original
		}
		if p.returned != c.want || p.original != original {
			t.Errorf("a message %s: got %s, %.200q", name, p.returned, p.original)
		}
		if declared := p.header.Get("Content-Transfer-Encoding"); (declared == "8bit") != (c.want == eightBit) {
			t.Errorf("message %s: got Content-Transfer-Encoding %q, want %s content", name, declared, c.want)
		}
		if err := checkSevenBit(raw); err != nil && c.want != eightBit {
			t.Errorf("message %s: got %v, want 7-bit text", name, err)
		}
	}
}
