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

// Terminal is a technician at the serial console, who reads and types.
type Terminal struct {
	conn net.Conn

	mu    sync.Mutex
	text  strings.Builder // everything said and typed, for a person to read
	heard string          // what the box said and nobody has waited for yet
	ended bool
}

// NewTerminal reads and writes conn until it is closed.
func NewTerminal(conn net.Conn) *Terminal {
	t := &Terminal{conn: conn}
	go t.read()
	return t
}

func (t *Terminal) read() {
	const some = 4096
	for p := make([]byte, some); ; {
		n, err := t.conn.Read(p)
		t.mu.Lock()
		t.text.Write(p[:n])
		t.heard += string(p[:n])
		t.ended = err != nil
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Close pulls the cable out.
func (t *Terminal) Close() error { return t.conn.Close() }

// Transcript is everything that was said so far. What was typed shows where
// the box echoed it.
func (t *Terminal) Transcript() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// Expect waits for the words behind those that were last waited for.
func (t *Terminal) Expect(words string) error { return t.expect(words, timeout) }

// PressUntil waits until the screen stands still, and presses Enter now and then
// until the console says the words, as somebody does who does not know what it
// waits for.
func (t *Terminal) PressUntil(words string) error {
	const often = 2 * time.Second
	t.awaitSilence()
	for deadline := time.Now().Add(timeout); ; {
		if err := t.Send(""); err != nil {
			return err
		}
		err := t.expect(words, often)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// awaitSilence forgets what is said until nothing is said for longer than a box
// drops what it hears.
func (t *Terminal) awaitSilence() {
	const still = 6 * time.Second
	for said := true; said; {
		t.mu.Lock()
		t.heard = ""
		t.mu.Unlock()
		time.Sleep(still)
		t.mu.Lock()
		said = t.heard != ""
		t.mu.Unlock()
	}
}

func (t *Terminal) expect(words string, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(pollInterval) {
		t.mu.Lock()
		_, rest, found := strings.Cut(t.heard, words)
		if found {
			t.heard = rest
		}
		ended := t.ended
		t.mu.Unlock()
		switch {
		case found:
			return nil
		case ended:
			return fmt.Errorf("the console ended before it said %q; the whole transcript:\n%s", words, t.Transcript())
		case time.Now().After(deadline):
			return fmt.Errorf("the console did not say %q within %s; the whole transcript:\n%s", words, timeout, t.Transcript())
		}
	}
}

// Send types a line and Enter.
func (t *Terminal) Send(line string) error { return t.Type(line + "\r") }

// Type types keys.
func (t *Terminal) Type(keys string) error {
	_ = t.conn.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(t.conn, keys); err != nil {
		return fmt.Errorf("typing %q: %w; the whole transcript:\n%s", keys, err, t.Transcript())
	}
	return nil
}

// Play follows a script, with one step a line:
//
//	expect Name of the site     waits for these words
//	send Contoso Leeds          types them and Enter; alone, Enter
//	type <Ctrl-]>q              types these keys, and no Enter
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
	verb, words, _ := strings.Cut(line, " ")
	switch verb {
	case "expect":
		return t.Expect(words)
	case "send":
		return t.Send(words)
	case "type":
		return t.Type(strings.ReplaceAll(words, "<Ctrl-]>", "\x1d"))
	}
	return errors.New("not a step of a script")
}
