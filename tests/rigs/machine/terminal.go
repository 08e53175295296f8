package machine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Terminal reads from and types to the serial console.
type Terminal struct {
	// Timeout is how long Expect waits, a minute by default.
	Timeout time.Duration

	conn net.Conn

	mu     sync.Mutex
	text   strings.Builder // everything received
	unread string          // received, but not matched by Expect yet
	ended  bool
}

// NewTerminal reads and writes conn until it is closed.
func NewTerminal(conn net.Conn) *Terminal {
	t := &Terminal{Timeout: WaitLimit, conn: conn}
	go t.read()
	return t
}

func (t *Terminal) read() {
	const blockSize = 4096
	for p := make([]byte, blockSize); ; {
		n, err := t.conn.Read(p)
		t.mu.Lock()
		t.text.Write(p[:n])
		t.unread += string(p[:n])
		t.ended = err != nil
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Close pulls the cable out.
func (t *Terminal) Close() error { return t.conn.Close() }

// Transcript returns everything received so far, including echoed input.
func (t *Terminal) Transcript() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// Expect waits for the text after the previous match.
func (t *Terminal) Expect(text string) error { return t.expect(text, t.Timeout) }

// PressUntil waits until the output stops, and then presses Enter periodically
// until the console shows the text.
func (t *Terminal) PressUntil(text string) error {
	const interval = 2 * time.Second
	t.awaitSilence()
	for deadline := time.Now().Add(WaitLimit); ; {
		if err := t.Send(""); err != nil {
			return err
		}
		err := t.expect(text, interval)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// awaitSilence discards output until there has been none for longer than the box
// discards input.
func (t *Terminal) awaitSilence() {
	const silence = 6 * time.Second
	for active := true; active; {
		t.mu.Lock()
		t.unread = ""
		t.mu.Unlock()
		time.Sleep(silence)
		t.mu.Lock()
		active = t.unread != ""
		t.mu.Unlock()
	}
}

func (t *Terminal) expect(text string, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(pollInterval) {
		t.mu.Lock()
		_, rest, found := strings.Cut(t.unread, text)
		if found {
			t.unread = rest
		}
		ended := t.ended
		t.mu.Unlock()
		switch {
		case found:
			return nil
		case ended:
			return fmt.Errorf("the console ended before it showed %q; the whole transcript:\n%s", text, t.Transcript())
		case time.Now().After(deadline):
			return fmt.Errorf("the console did not show %q within %s; the whole transcript:\n%s", text, timeout, t.Transcript())
		}
	}
}

// Send types a line and Enter.
func (t *Terminal) Send(line string) error { return t.Type(line + "\r") }

// Type types keys.
func (t *Terminal) Type(keys string) error {
	_ = t.conn.SetWriteDeadline(time.Now().Add(WaitLimit))
	if _, err := io.WriteString(t.conn, keys); err != nil {
		return fmt.Errorf("typing %q: %w; the whole transcript:\n%s", keys, err, t.Transcript())
	}
	return nil
}

// Play plays a script with one step per line:
//
//	expect Name of the site     waits for this text
//	send Contoso Leeds          types it and Enter; without text, Enter only
//	type <Ctrl-]>q              types these keys without Enter
//	# a comment
func (t *Terminal) Play(script string) error {
	number := 0
	for line := range strings.Lines(script) {
		number++
		line = strings.Trim(line, " \t\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := t.step(line); err != nil {
			return fmt.Errorf("line %d of the script, %s: %w", number, line, err)
		}
	}
	return nil
}

func (t *Terminal) step(line string) error {
	verb, text, _ := strings.Cut(line, " ")
	switch verb {
	case "expect":
		return t.Expect(text)
	case "send":
		return t.Send(text)
	case "type":
		return t.Type(strings.ReplaceAll(text, "<Ctrl-]>", "\x1d"))
	}
	return errors.New("unknown step")
}
