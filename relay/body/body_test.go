package body

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBuffer_ReturnsWhatWasWritten(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, firstChunk - 1, firstChunk, firstChunk + 1, 3*lastChunk + 17} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		budget := NewBudget(16 << 20)
		b := budget.NewBuffer()
		if _, err := io.Copy(b, iotest.HalfReader(bytes.NewReader(want))); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, _ := io.ReadAll(b.Open()); !bytes.Equal(got, want) || b.Size() != int64(size) {
				t.Errorf("got %d bytes, want the %d that were written", len(got), size)
			}
		}
		b.Release()
		if budget.Used() != 0 {
			t.Errorf("got %d bytes in use after Release, want 0", budget.Used())
		}
	}
}

func TestBudget_LimitsAllBuffers(t *testing.T) {
	budget := NewBudget(2 * firstChunk)
	first, second, third := budget.NewBuffer(), budget.NewBuffer(), budget.NewBuffer()
	for _, b := range []*Buffer{first, second} {
		if _, err := b.Write([]byte("small")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := third.Write([]byte("small")); !errors.Is(err, ErrBudget) {
		t.Fatalf("got %v, want %v", err, ErrBudget)
	}
	first.Release()
	if _, err := third.Write([]byte("small")); err != nil {
		t.Fatalf("after Release: got %v, want nil", err)
	}
}

func normalise(t *testing.T, content string) (string, *Normaliser) {
	t.Helper()
	var out bytes.Buffer
	n := NewNormaliser(&out, 1000)
	if _, err := io.Copy(n, iotest.OneByteReader(strings.NewReader(content))); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), n
}

func TestNormaliser_EndsEveryLineInCRLF(t *testing.T) {
	for given, want := range map[string]string{
		"":                  "",
		"a\r\nb\r\n":        "a\r\nb\r\n",
		"a\nb\n":            "a\r\nb\r\n",
		"a\rb\r":            "a\r\nb\r\n",
		"a\r\rb":            "a\r\n\r\nb\r\n",
		"a\n\r\nb":          "a\r\n\r\nb\r\n",
		"a\r\r\nb\r\r\n":    "a\r\nb\r\n",
		"a\r\r\r\nb":        "a\r\nb\r\n",
		"a\n.\nb":           "a\r\n.\r\nb\r\n",
		"a\r\n.\rQUIT\r\nb": "a\r\n.\r\nQUIT\r\nb\r\n",
		"no end":            "no end\r\n",
	} {
		if got, _ := normalise(t, given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestNormaliser_RejectsALongLineOfTheHeaderOnly(t *testing.T) {
	const limit = 2000
	for _, c := range []struct {
		before string
		length int
		fails  bool
	}{
		{"X: y\r\nSubject: ", limit - 9, false}, {"X: y\r\nSubject: ", limit - 8, true},
		{"X: y\r\n ", limit - 1, false}, {"X: y\r\n ", limit, true},
		{"", 2 * limit, false}, {" ", 2 * limit, false}, {"X: y\r\n", 2 * limit, false}, {"X: y\r\n\r\nX: ", 2 * limit, false}, {"X: y\r\nHello\r\nX: ", 2 * limit, false},
	} {
		content := c.before + strings.Repeat("x", c.length) + "\r\nX: y\r\n"
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(content), "octets": iotest.OneByteReader(strings.NewReader(content))} {
			n := NewNormaliser(io.Discard, limit)
			_, err := io.Copy(struct{ io.Writer }{n}, struct{ io.Reader }{r})
			if errors.Is(err, ErrLongLine) != c.fails {
				t.Errorf("%q and %d octets, %s: got %v, want an error: %t", c.before, c.length, name, err, c.fails)
			}
			if err == nil && !n.LongLines() {
				t.Errorf("%q and %d octets, %s: got no long lines", c.before, c.length, name)
			}
		}
	}
}

func TestNormaliser_ReportsLinesOver998Octets(t *testing.T) {
	for length, want := range map[int]bool{998: false, 999: true} {
		for _, ending := range []string{"", "\n", "\r\n", "\r\n\r\nx\r\n"} {
			if _, n := normalise(t, "x\r\n"+strings.Repeat("x", length)+ending); n.LongLines() != want {
				t.Errorf("%d octets: got %t", length, n.LongLines())
			}
		}
	}
}

func TestNormaliser_RemovesNULs(t *testing.T) {
	for given, want := range map[string]string{"\x00": "", "a\x00b": "ab\r\n", "a\r\x00\n": "a\r\n", "a\r\n\x00.\r\n": "a\r\n.\r\n"} {
		if got, n := normalise(t, given); got != want || !n.NULs() {
			t.Errorf("%q: got %q, %t, want %q", given, got, n.NULs(), want)
		}
	}
	if _, n := normalise(t, "a\r\n"); n.NULs() {
		t.Error("got NULs in a text")
	}
}

func TestNormaliser_CountsHopsInTheHeader(t *testing.T) {
	header := "Received: a\r\n by b\r\nrEcEiVeD:c\nSubject: Received: no\r\nX-Received: no\r\n\r\n"
	if _, n := normalise(t, header+"Received: not a field\r\n"); n.Hops() != 2 {
		t.Errorf("got %d hops, want 2", n.Hops())
	}
	if _, n := normalise(t, "From a@b Thu Jan  1 00:00:00 1970\r\nReceived : a\r\nText\r\nReceived: no\r\n"); n.Hops() != 1 {
		t.Errorf("got %d hops, want 1", n.Hops())
	}
}

func TestNormaliser_DetectsEightBitContent(t *testing.T) {
	for content, want := range map[string]bool{"Grüße\r\n": true, "x\xff\r\n": true, "plain\r\n": false} {
		if _, n := normalise(t, content); n.EightBit() != want {
			t.Errorf("%q: got %v, want %v", content, n.EightBit(), want)
		}
	}
}

func FuzzNormaliser(f *testing.F) {
	f.Add([]byte("a\r\n\n\r.\r\nb"), 3)
	f.Fuzz(func(t *testing.T, content []byte, split int) {
		var whole, parts bytes.Buffer
		a, b := NewNormaliser(&whole, 1<<20), NewNormaliser(&parts, 1<<20)
		at := min(max(split, 0), len(content))
		a.Write(content)
		b.Write(content[:at])
		b.Write(content[at:])
		a.Close()
		b.Close()
		if !bytes.Equal(whole.Bytes(), parts.Bytes()) || a.Hops() != b.Hops() {
			t.Errorf("%q split at %d: got %q, want %q as in one piece", content, at, parts.Bytes(), whole.Bytes())
		}
		bare := bytes.ReplaceAll(whole.Bytes(), crlf, nil)
		if bytes.ContainsAny(bare, "\r\n") {
			t.Errorf("%q: got a bare line ending in %q", content, whole.Bytes())
		}
		if whole.Len() > 0 && !bytes.HasSuffix(whole.Bytes(), crlf) {
			t.Errorf("%q: got %q, want CRLF at the end", content, whole.Bytes())
		}
	})
}
