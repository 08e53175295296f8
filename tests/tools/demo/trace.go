package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// event holds the fields of a journal line that the trace shows.
type event struct {
	Time       time.Time
	Event      string
	ID         string
	Client     string
	Hello      string
	From       string
	To         string
	Recipients int
	Octets     int64
	Answer     string
	Took       string
	Cause      string
	Key        string
	Why        string
	Upstream   struct {
		Host, Address, TLS, Cipher, Peer, Certificate string
	}
}

// tracePrinter prints the trace of each message from the journal.
type tracePrinter struct {
	queued map[string]bool // messages already answered with 250
}

// run reads the journal to its end, and calls each after each event.
func (t *tracePrinter) run(journal io.Reader, each func(name string)) {
	lines := bufio.NewScanner(journal)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		t.print(e)
		each(e.Event)
	}
}

func (t *tracePrinter) print(e event) {
	switch e.Event {
	case "received":
		e.line("printer -> box", "from %s %s, %d recipient(s), %d octets", e.Hello, e.From, e.Recipients, e.Octets)
	case "signature":
		e.line("TPM", "signed the handshake in %s, key: %s", e.Took, e.Key)
	case "upstream connected":
		e.line("box -> tenant", "%s at %s, certificate of %s verified, %s", e.Upstream.Host, e.Upstream.Address, e.Upstream.Peer, e.Upstream.Cipher)
	case "queued":
		t.queued[e.ID] = true
		e.line("box -> flash", "%s, durable and encrypted", e.ID)
		e.line("printer gets", "250 2.0.0 %s is queued and will be sent: %s", e.ID, e.Why)
	case "upstream resumed":
		e.line("box -> tenant", "the tenant accepts mail again")
	case "delivered":
		e.line("box -> tenant", "%s, %s", e.Upstream.Certificate, e.Upstream.TLS)
		if t.queued[e.ID] {
			e.line("tenant replied", "%s", e.Answer)
			return
		}
		e.line("printer gets", "%s (after %s)", e.Answer, e.Took)
	case "refused", "deferred":
		e.line("printer gets", "%s (after %s)", e.Answer, e.Took)
	}
}

func (e event) line(who, format string, args ...any) {
	fmt.Printf("  %s  %-15s %s\n", e.Time.Local().Format("15:04:05.000"), who, fmt.Sprintf(format, args...))
}
