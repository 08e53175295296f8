package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the current dialogues")

// cable is a serial line: the console at one end, the test at the other.
type cable struct {
	keys chan []byte // closed to pull it out
	rest []byte
	idle bool // no session has begun

	mu      sync.Mutex
	written bytes.Buffer
}

func newCable() *cable { return &cable{keys: make(chan []byte), idle: true} }

func (c *cable) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		keys, more := <-c.keys
		if !more {
			return 0, io.EOF
		}
		c.rest = keys
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *cable) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written.Write(p)
}

// output waits until the console waits, and returns what it has written since.
func (c *cable) output() string {
	if c.idle {
		time.Sleep(250 * time.Millisecond) // the console discards input for a moment
	}
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.ReplaceAll(c.written.String(), "\r\n", "\n")
	c.written.Reset()
	c.idle = strings.HasSuffix(text, "Press Enter to begin. ")
	return text
}

// plug connects a technician to a console, until pull is called.
func plug(ctx context.Context, console *Console) (line *cable, pull func() error) {
	line = newCable()
	ended := make(chan error, 1)
	go func() { ended <- console.Run(ctx, line) }()
	return line, func() error {
		close(line.keys)
		return <-ended
	}
}

// typed are the places in a dialogue where the technician types.
var typed = regexp.MustCompile(`«([^»]*)»`)

// keysOf returns the keys for a mark in a dialogue:
//
//	«Contoso Leeds»     this text, then Enter
//	«?4711»             the same, but it must not be echoed
//	«^C»                Ctrl-C
//	«~16m»              nothing, for 16 minutes
//	«paste pfx»         the fake box's PFX; likewise authority, settings
func keysOf(mark string) string {
	switch mark {
	case "^C":
		return "\x03"
	case "paste pfx":
		return "BEGIN PFX\r" + base64.StdEncoding.EncodeToString([]byte(fakePFX)) + "\rEND PFX\r"
	case "paste half a pfx":
		return "BEGIN PFX\r" + base64.StdEncoding.EncodeToString([]byte(fakePFX))[:20] + "\r.\r"
	case "paste certificate":
		return strings.ReplaceAll(fakePEM, "\n", "\r\n")
	case "paste settings":
		return "[senders]\naccepted_domains = [\"contoso.com\"]\n[limits]\nrecipients = 30\n.\n"
	case "paste settings for a secret":
		return "[upstream]\nmethod = \"submission\"\n[upstream.submission]\nuser = \"relay@contoso.com\"\n[upstream.oauth]\n" +
			"client_id = \"8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10\"\ngrant = \"secret\"\n.\n"
	case "paste wrong settings":
		return "[senders]\naccepted_domain = [\"contoso.com\"]\n.\n"
	}
	return strings.TrimPrefix(mark, "?") + "\r"
}

// record plays the technician's part of a script, and returns the dialogue.
func record(ctx context.Context, box *fakeBox, script string) (transcript string, err error) {
	line, pull := plug(ctx, New(box))
	var b strings.Builder
	b.WriteString(line.output())
	for _, mark := range typed.FindAllStringSubmatch(script, -1) {
		pause, waits := strings.CutPrefix(mark[1], "~")
		if waits {
			d, err := time.ParseDuration(pause)
			if err != nil {
				return "", err
			}
			time.Sleep(d)
		} else {
			line.keys <- []byte(keysOf(mark[1]))
		}
		if strings.HasPrefix(mark[1], "paste") {
			time.Sleep(endPause + time.Second)
		}
		if mark[1] == "^C" {
			time.Sleep(time.Second)
		}
		output := line.output()
		shown := strings.TrimPrefix(mark[1], "?")
		text, echoed := strings.CutPrefix(output, shown+"\n")
		switch {
		case waits, strings.HasPrefix(mark[1], "paste"):
			b.WriteString("«" + mark[1] + "»\n" + output)
		case echoed && shown != "", shown == "" && !strings.HasPrefix(mark[1], "?"):
			b.WriteString("«" + shown + "»\n" + text)
		default:
			b.WriteString("«" + mark[1] + "»" + output)
		}
	}
	if err := pull(); err != ErrGone {
		return "", err
	}
	return b.String() + "\n", nil
}

// play plays the dialogue of a script file and compares the result with the file.
func play(t *testing.T, box *fakeBox, name string) {
	t.Helper()
	path := filepath.Join("testdata", name+".dialogue")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	synctest.Test(t, func(t *testing.T) {
		got, err := record(t.Context(), box, script)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got) {
			if visible := typed.ReplaceAllString(line, ""); len(visible) > columns+1 {
				t.Errorf("too wide for a terminal: %q", line)
			}
		}
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if got != script {
			t.Errorf("%s: the dialogue differs (go test -run %s -update shows how in git diff):\n%s", path, t.Name(), got)
		}
	})
}
