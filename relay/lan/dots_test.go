package lan

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// readContent reads content that arrives in parts of a size, and what follows it.
func readContent(t *testing.T, wire string, size int, limit int64) (content, rest string, err error) {
	t.Helper()
	server, client := net.Pipe()
	c := newClientConn(server, policy.Client{}, policy.Access{}, newSessions(&Config{Limits: testLimits}, journal.Discard()))
	go func() {
		for part := range slices.Chunk([]byte(wire), size) {
			_, _ = client.Write(part)
		}
		_ = client.Close()
	}()
	var b bytes.Buffer
	err = c.dataContent(limit)(&b)
	behind, _ := io.ReadAll(c)
	return b.String(), string(behind), err
}

// referenceContent implements RFC 5321 section 4.5.2 octet by octet.
func referenceContent(wire string) (content string, rest string, whole bool) {
	var b strings.Builder
	begin := true
	for len(wire) > 0 {
		if begin && strings.HasPrefix(wire, ".\r\n") {
			return b.String(), wire[3:], true
		}
		if begin && wire[0] == '.' {
			wire, begin = wire[1:], false
			continue
		}
		begin = strings.HasPrefix(wire, "\r\n")
		length := 1
		if begin {
			length = 2
		}
		b.WriteString(wire[:length])
		wire = wire[length:]
	}
	return b.String(), "", false
}

func TestDotReader_EndsAtASingleDotLine(t *testing.T) {
	for wire, want := range map[string]string{
		".\r\nQUIT\r\n":                                     "",
		"a\r\n.\r\nQUIT\r\n":                                "a\r\n",
		"..\r\n...a\r\n.b\r\n.\r\nQUIT\r\n":                 ".\r\n..a\r\nb\r\n",
		"a\n.\nb\r\n.\r\nQUIT\r\n":                          "a\n.\nb\r\n",
		"a\n.\r\nb\r\n.\r\nQUIT\r\n":                        "a\n.\r\nb\r\n",
		"a\r.\r\nb\r\n.\r\nQUIT\r\n":                        "a\r.\r\nb\r\n",
		"a\r\n.\nb\r\n.\r\nQUIT\r\n":                        "a\r\n\nb\r\n",
		"a\r\n.\rb\r\n.\r\nQUIT\r\n":                        "a\r\n\rb\r\n",
		"a\r\n.\r\r\nb\r\n.\r\nQUIT\r\n":                    "a\r\n\r\r\nb\r\n",
		"the last line ends in CR CR LF\r\r\n.\r\nQUIT\r\n": "the last line ends in CR CR LF\r\r\n",
		strings.Repeat("x", 100_000) + "\r\n.\r\nQUIT\r\n":  strings.Repeat("x", 100_000) + "\r\n",
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			content, rest, err := readContent(t, wire, size, 1<<20)
			if content != want || rest != ".\r\nQUIT\r\n" || err != nil {
				t.Errorf("%.60q in parts of %d: got %.60q, then %q, %v", wire, size, content, rest, err)
			}
		}
	}
}

func TestDotReader_FailsOnTruncatedContent(t *testing.T) {
	for _, wire := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r", "a\n.\n", "a\r\n..\r\n"} {
		if content, _, err := readContent(t, wire, 1, 100); err == nil {
			t.Errorf("%q: got %q, %v", wire, content, err)
		}
	}
}

func TestDotReader_RejectsContentOverTheLimit(t *testing.T) {
	const wire = "12345678\r\n.\r\nQUIT\r\n"
	if _, _, err := readContent(t, wire, 3, 10); err != nil {
		t.Errorf("at the limit: got %v", err)
	}
	if _, rest, err := readContent(t, wire, 3, 9); !errors.Is(err, smtp.ErrDataTooLarge) || rest != ".\r\nQUIT\r\n" {
		t.Errorf("over the limit: got %v, then %q", err, rest)
	}
}

func FuzzContent(f *testing.F) {
	f.Add("a\r\n.\r\nQUIT\r\n", 1)
	f.Add("..a\r.\n\r\r\n.\r\n.\r\n", 2)
	f.Fuzz(func(t *testing.T, wire string, size int) {
		if size < 1 {
			size = 1
		}
		want, rest, whole := referenceContent(wire)
		d := &dotReader{w: new(bytes.Buffer), limit: 1 << 30}
		var behind []byte
		for part := range slices.Chunk([]byte(wire), size) {
			if d.state == ended {
				behind = append(behind, part...)
				continue
			}
			behind = append(behind, d.consume(part)...)
		}
		if (d.state == ended) != whole {
			t.Fatalf("%q: got ended %v, want %v", wire, d.state == ended, whole)
		}
		if got := d.w.(*bytes.Buffer).String(); whole && (got != want || string(behind) != rest) {
			t.Errorf("%q: got %q, then %q", wire, got, behind)
		}
	})
}
