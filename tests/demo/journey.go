package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// event is what the journey needs of a line of the journal.
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
	Upstream   struct {
		Host, Address, TLS, Cipher, Peer, Certificate string
	}
}

// tell prints each message's journey as the journal gives it, and calls arrived
// when one has come to its end.
func tell(journal io.Reader, arrived func()) {
	lines := bufio.NewScanner(journal)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		e.print()
		if e.Event == "delivered" || e.Event == "refused" || e.Event == "deferred" {
			arrived()
		}
	}
}

func (e event) print() {
	switch e.Event {
	case "received":
		e.line("printer -> box", "from %s %s, %d recipient(s), %d octets", e.Hello, e.From, e.Recipients, e.Octets)
	case "signature":
		e.line("TPM", "signed the handshake in %s, key: %s", e.Took, e.Key)
	case "upstream connected":
		e.line("box -> tenant", "%s at %s, certificate of %s verified, %s", e.Upstream.Host, e.Upstream.Address, e.Upstream.Peer, e.Upstream.Cipher)
	case "delivered":
		e.line("box -> tenant", "%s, %s", e.Upstream.Certificate, e.Upstream.TLS)
		e.line("printer hears", "%s (after %s)", e.Answer, e.Took)
	case "refused", "deferred":
		e.line("printer hears", "%s (after %s)", e.Answer, e.Took)
	}
}

func (e event) line(who, format string, args ...any) {
	fmt.Printf("  %s  %-15s %s\n", e.Time.Local().Format("15:04:05.000"), who, fmt.Sprintf(format, args...))
}
