package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/practice"
)

const (
	escape = 0x1d // Ctrl-]
	// pollInterval is how often the tenant is checked for new mail.
	pollInterval = 100 * time.Millisecond
)

// errQuit ends the session on the user's request.
var errQuit = errors.New("quit")

// terminal connects the user's terminal to the box's serial line.
type terminal struct {
	line     net.Conn
	box      *machine.Machine
	site     *practice.Site
	help     func()
	inserted atomic.Bool // the practice stick
}

// run copies both ways until the user quits, either side closes, or a signal
// arrives.
func (t *terminal) run() error {
	if input := int(os.Stdin.Fd()); term.IsTerminal(input) {
		old, err := term.MakeRaw(input)
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer func() { _ = term.Restore(input, old) }()
	}
	// QEMU must not outlive a closed terminal.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan error, 2)
	go func() {
		_, err := io.Copy(os.Stdout, t.line)
		done <- err
	}()
	go func() { done <- t.readKeys(os.Stdin) }()
	mail := time.NewTicker(pollInterval)
	defer mail.Stop()
	defer fmt.Print("\r\n")
	shown, result := 0, ""
	defer func() { t.showMail(&shown) }()
	for {
		select {
		case err := <-done:
			if errors.Is(err, errQuit) || errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-signals:
			return nil
		case <-mail.C:
			t.showMail(&shown)
			t.showResult(&result)
		}
	}
}

// showResult prints what the box wrote to the practice stick, once.
func (t *terminal) showResult(shown *string) {
	if !t.inserted.Load() {
		return
	}
	text := t.site.Files.Result()
	if text == *shown {
		return
	}
	if *shown = text; text != "" {
		fmt.Printf("\r\n[the box wrote result.txt to the stick]\r\n%s\r\n", strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\n", "\r\n"))
	}
}

// showMail prints the messages that the practice tenant has received since the last
// call.
func (t *terminal) showMail(shown *int) {
	messages := t.site.Tenant.Messages()
	for _, m := range messages[*shown:] {
		fmt.Printf("\r\n%s  [practice tenant] received mail from <%s> for %v, client certificate %s\r\n",
			time.Now().Format(time.TimeOnly), m.Sender, m.Recipients, m.Client.Subject)
	}
	*shown = len(messages)
}

// readKeys sends keys to the box, and executes the escape commands.
func (t *terminal) readKeys(keys io.Reader) error {
	escaped := false
	for key := make([]byte, 1); ; {
		if _, err := io.ReadFull(keys, key); err != nil {
			return err
		}
		switch {
		case escaped:
			escaped = false
			if err := t.command(key[0]); err != nil {
				return err
			}
		case key[0] == escape:
			escaped = true
		default:
			if _, err := t.line.Write(key); err != nil {
				return err
			}
		}
	}
}

// command executes the escape command of a key; other keys do nothing.
func (t *terminal) command(key byte) error {
	switch key {
	case 'a':
		return t.paste(string(t.site.Files.Authority))
	case 'p':
		return t.paste(t.site.Files.PFXText())
	case 's':
		return t.toggleStick()
	case '?':
		t.help()
	case 'q', escape:
		return errQuit
	}
	return nil
}

// paste sends text to the box, as pasting into a terminal does.
func (t *terminal) paste(text string) error {
	_, err := io.WriteString(t.line, text)
	return err
}

// toggleStick inserts or removes the practice stick.
func (t *terminal) toggleStick() error {
	const name = "practice"
	if t.inserted.Load() {
		if err := t.box.Remove(name); err != nil {
			return fmt.Errorf("removing the practice stick: %w", err)
		}
		t.inserted.Store(false)
		fmt.Print("\r\n[stick pulled out]\r\n")
		return nil
	}
	t.site.Files.RemoveResult()
	if err := t.box.Insert(name, t.site.Files.Stick()); err != nil {
		return fmt.Errorf("inserting the practice stick: %w", err)
	}
	t.inserted.Store(true)
	fmt.Print("\r\n[stick plugged in; the box reads it within about 15 seconds]\r\n")
	return nil
}
