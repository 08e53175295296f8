package console

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reading types keys at a terminal, and returns the result of read and the output.
func reading[T any](t *testing.T, read func(*terminal, context.Context) (T, error), keys ...string) (value T, output string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		line := newCable()
		terminal := newTerminal(line)
		defer terminal.Close()
		go func() {
			for _, k := range keys {
				line.keys <- []byte(k)
			}
			close(line.keys)
		}()
		value, err = read(terminal, t.Context())
		output = line.output()
	})
	return value, output, err
}

func TestLine_SupportsEditing(t *testing.T) {
	for _, c := range []struct{ keys, want, shown string }{
		{"Leeds\r", "Leeds", "Leeds\n"},
		{"Leeds\n", "Leeds", "Leeds\n"},
		{"Leedz\x08s\r", "Leeds", "Leedz\b \bs\n"},
		{"Leedz\x7fs\r", "Leeds", "Leedz\b \bs\n"},
		{"\x08\x08Leeds\r", "Leeds", "Leeds\n"},
		{"York\x15Leeds\r", "Leeds", "York" + strings.Repeat("\b \b", 4) + "Leeds\n"},
		{"K\u00f6\x08oln\r", "Koln", "K\u00f6\b \boln\n"},
		{"\x00\x01\x1cLe\x02e\x0bds\x1e\r", "Leeds", "Leeds\n"},
		{"Le\x1b[Aeds\x1b[3~\x1bOP\r", "Leeds", "Leeds\n"},
		{"  Leeds \r", "Leeds", "  Leeds \n"},
		{"\r", "", "\n"},
	} {
		got, shown, err := reading(t, (*terminal).Line, c.keys)
		if got != c.want || shown != c.shown || err != nil {
			t.Errorf("%q: %q, shown %q, %v", c.keys, got, shown, err)
		}
	}
}

func TestLine_AcceptsEveryLineEnding(t *testing.T) {
	for _, end := range []string{"\r", "\n", "\r\n"} {
		both := func(t *terminal, ctx context.Context) (string, error) {
			first, err := t.Line(ctx)
			second, secondErr := t.Line(ctx)
			return first + "|" + second, errors.Join(err, secondErr)
		}
		if got, _, err := reading(t, both, "one"+end+"two"+end); got != "one|two" || err != nil {
			t.Errorf("%q: %q, %v", end, got, err)
		}
	}
}

func TestSecret_IsNotEchoed(t *testing.T) {
	got, shown, err := reading(t, (*terminal).Secret, "corretc\x08\x08ct\x15correct horse\r")
	if got != "correct horse" || shown != "\n" || err != nil {
		t.Errorf("%q, shown %q, %v", got, shown, err)
	}
}

func TestLine_ExplainsInvalidInput(t *testing.T) {
	for _, c := range []struct {
		keys string
		want string
	}{
		{strings.Repeat("A", maxLine+1) + "\r", "more than 4096 characters"},
		{"K\xf6ln\r", "not UTF-8"},
	} {
		var invalid invalidInput
		if _, _, err := reading(t, (*terminal).Line, c.keys); !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: got %v, want invalid input with %q", c.keys, err, c.want)
		}
	}
}

func TestLine_FailsWhenTheConnectionEnds(t *testing.T) {
	for _, keys := range []string{"", "half a line", "\x1b["} {
		if _, _, err := reading(t, (*terminal).Line, keys); !errors.Is(err, ErrGone) {
			t.Errorf("%q: got %v, want %v", keys, err, ErrGone)
		}
		if _, _, err := reading(t, (*terminal).Paste, keys); !errors.Is(err, ErrGone) {
			t.Errorf("paste of %q: got %v, want %v", keys, err, ErrGone)
		}
	}
}

func TestLine_DropsPendingInputOnCtrlC(t *testing.T) {
	both := func(t *terminal, ctx context.Context) (string, error) {
		if _, err := t.Line(ctx); !errors.Is(err, errBack) {
			return "", err
		}
		return t.Line(ctx)
	}
	synctest.Test(t, func(t *testing.T) {
		line := newCable()
		terminal := newTerminal(line)
		defer terminal.Close()
		go func() {
			line.keys <- []byte("MIIK\x03MIIK\rMIIK\r")
			time.Sleep(time.Second)
			line.keys <- []byte("Leeds\r")
			close(line.keys)
		}()
		if got, err := both(terminal, t.Context()); got != "Leeds" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		synctest.Wait()
	})
}

func TestLine_DiscardsAPastedBlock(t *testing.T) {
	begin := "-----BEGIN PRIVATE KEY-----\r"
	for _, c := range []struct {
		name, keys string
		pause      time.Duration // before the answer
		err        string        // of the first line
	}{
		{"a key", begin + "MIIK\rMIIK\r-----END PRIVATE KEY-----\r", time.Second, "It was discarded."},
		{"a chain", strings.Repeat(begin+"MIIK\r-----END PRIVATE KEY-----\rBag Attributes\r", 3), time.Second, "It was discarded."},
		{"one without an end", begin + "MIIK\rMIIK\r", pasteTimeout + time.Second, "It was discarded."},
		{"an endless one", begin + strings.Repeat("MIIKMIIK\r", maxPaste/8), time.Second, "It was discarded."},
		{"one with Ctrl-C", begin + "MIIK\r\x03", time.Second, errBack.Error()},
	} {
		synctest.Test(t, func(t *testing.T) {
			line := newCable()
			terminal := newTerminal(line)
			defer terminal.Close()
			go func() {
				line.keys <- []byte(c.keys)
				time.Sleep(c.pause)
				line.keys <- []byte("Leeds\r")
				close(line.keys)
			}()
			if _, err := terminal.Line(t.Context()); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.err)
			}
			if got, err := terminal.Line(t.Context()); got != "Leeds" || err != nil {
				t.Errorf("%s, then: %q, %v", c.name, got, err)
			}
			synctest.Wait()
			if strings.Contains(line.output(), "MIIK") {
				t.Errorf("%s is shown", c.name)
			}
		})
	}
}

func TestPaste_EndsWithADotOrABlock(t *testing.T) {
	for _, c := range []struct{ keys, want string }{
		{"a = 1\rb = 2\r.\r", "a = 1\nb = 2\n"},
		{"a\t= 1\r\n.\r\n", "a\t= 1\n"},
		{".\r", ""},
		{strings.Repeat("A", 9000) + "\r.\r", strings.Repeat("A", 9000) + "\n"},
	} {
		if got, shown, err := reading(t, (*terminal).Paste, c.keys); string(got) != c.want || shown != "" || err != nil {
			t.Errorf("%.20q: %.20q, shown %q, %v", c.keys, got, shown, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		line := newCable()
		terminal := newTerminal(line)
		defer terminal.Close()
		go func() {
			line.keys <- []byte(fakePEM)
			time.Sleep(endPause / 2)
			line.keys <- []byte(fakePEM)
		}()
		if got, err := terminal.Paste(t.Context()); string(got) != fakePEM+fakePEM || err != nil {
			t.Errorf("two certificates: %q, %v", got, err)
		}
		close(line.keys)
		synctest.Wait()
	})
}

func TestPaste_RefusesIncompleteText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newCable()
		terminal := newTerminal(line)
		defer terminal.Close()
		go func() { line.keys <- []byte("-----BEGIN CERTIFICATE-----\rMIIK") }()
		begun := time.Now()
		_, err := terminal.Paste(t.Context())
		if err == nil || !strings.Contains(err.Error(), "is incomplete and was discarded") || time.Since(begun) != pasteTimeout {
			t.Errorf("got %v after %s, want a discarded paste after %s", err, time.Since(begun), pasteTimeout)
		}
		close(line.keys)
		synctest.Wait()
	})
}

func TestPaste_ExplainsEnterInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newCable()
		terminal := newTerminal(line)
		defer terminal.Close()
		go func() {
			line.keys <- []byte("\r-----BEGIN CERTIFICATE-----\rMIIK\r\r") // an empty line belongs to it
			for range 3 {
				time.Sleep(hintPause)
				line.keys <- []byte("\r")
			}
			line.keys <- []byte{keyInterrupt}
		}()
		if _, err := terminal.Paste(t.Context()); !errors.Is(err, errBack) {
			t.Errorf("got %v, want %v", err, errBack)
		}
		output := line.output()
		if count := strings.Count(output, "The paste is incomplete"); count != 2 {
			t.Errorf("got the fault %d times, want 2: %q", count, output)
		}
		close(line.keys)
		synctest.Wait()
	})
}

func TestPaste_LimitsItsSize(t *testing.T) {
	var p paste
	for range 3 * maxPaste {
		p.add('A')
		p.add('\n')
	}
	if len(p.text) > maxPaste || cap(p.text) > 2*maxPaste || len(p.line) > 100 {
		t.Errorf("%d bytes of text, %d of a line", cap(p.text), len(p.line))
	}
	if _, err := p.end(); err == nil || !strings.Contains(err.Error(), "more than 1 MiB") {
		t.Errorf("got %v, want an error with %q", err, "more than 1 MiB")
	}
}

func TestDecodePFX_ReadsBase64(t *testing.T) {
	const base64 = "YSBQRlggYXMgdGhlIGZha2Ug\nYm94IGtub3dzIGl0"
	for _, c := range []struct{ text, want string }{
		{base64, fakePFX},
		{strings.ReplaceAll(base64, "\n", ""), fakePFX},
		{"BEGIN PFX\n" + base64 + "\nEND PFX\n", fakePFX},
		{"-----BEGIN CERTIFICATE-----\n" + base64 + "\n-----END CERTIFICATE-----\n", fakePFX}, // certutil -encode
		{"-----BEGIN PKCS12-----\n" + base64 + "\n-----END PKCS12-----\n", fakePFX},
		{"BEGIN PFX\n" + base64 + "\n", "its END line is missing"},
		{base64[:30], "not a complete PFX"},
		{"", "not a complete PFX"},
		{"\x30\x82", "not a complete PFX"},
	} {
		got, err := decodePFX([]byte(c.text))
		if string(got) != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %q, %v", c.text, got, err)
		}
	}
}

func TestTerminal_WrapsAndCleansText(t *testing.T) {
	line := &cable{}
	terminal := &terminal{out: line}
	terminal.Say("%s", "caf\u00e9 \u2026 \x1b[2Jx\u202e "+strings.Repeat("word ", 40)+strings.Repeat("y", 200))
	terminal.Item("  upstream", strings.Repeat("word ", 40)+"\nsecond")
	for text := range strings.Lines(line.written.String()) {
		text, ends := strings.CutSuffix(text, "\r\n")
		if len(text) > columns || !ends {
			t.Errorf("got %d columns, want at most %d: %q", len(text), columns, text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("not ASCII: %q", text)
		}
	}
}

func FuzzTerminal(f *testing.F) {
	f.Add([]byte("Leeds\r\nhunter2\r\n-----BEGIN X-----\r\nA\r\n-----END X-----\r\n.\r\n"))
	f.Add([]byte("\x1b[A\x7f\x15\x03\x04\xff\x00.\n\n.\n"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		out := &bytes.Buffer{}
		terminal := newTerminal(streams{bytes.NewReader(keys), out})
		defer terminal.Close()
		for i := 0; ; i++ {
			var err error
			switch i % 3 {
			case 0:
				_, err = terminal.Line(t.Context())
			case 1:
				_, err = terminal.Secret(t.Context())
			case 2:
				_, err = terminal.Paste(t.Context())
			}
			if errors.Is(err, ErrGone) {
				break
			}
		}
		if out.Len() > 4*len(keys)+16 {
			t.Errorf("got %d bytes of output for %d bytes of input", out.Len(), len(keys))
		}
	})
}

// noise returns random bytes, as from a line with interference.
func noise(size int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	p := make([]byte, size)
	_, _ = random.Read(p)
	return p
}
