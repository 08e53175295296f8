package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// step is one step of a message's journey, in words.
type step struct {
	Step  string `json:"step"` // such as "delivered"
	Words string `json:"words"`
}

func (s step) String() string { return fmt.Sprintf("%-12s %s", s.Step, s.Words) }

// passage is what a journey needs of an event of the journal.
type passage struct {
	Event, ID, Hello, Answer, Took, Why, Key, Cause, Words, Last, Grant string
	Octets                                                              int64
	Upstream                                                            struct{ Host, Address, TLS, Cipher, Certificate, Account string }
}

// step puts an event into words; an event that does not concern the message is
// no step.
func (p passage) step() (s step, last bool) {
	switch p.Event {
	case "received":
		return step{"received", fmt.Sprintf("the box has it: %s, %d octets", p.ID, p.Octets)}, false
	case "upstream connected":
		shown := p.Upstream.Certificate
		if p.Upstream.Account != "" {
			shown = "logged in as " + p.Upstream.Account
		}
		return step{"connected", fmt.Sprintf("%s at %s, %s, %s", p.Upstream.Host, p.Upstream.Address, p.Upstream.TLS, shown)}, false
	case "upstream not connected":
		return step{"no answer", p.Cause}, false
	case "access token":
		return step{"token", "granted on the " + p.Grant + " in " + p.Took}, false
	case "no access token":
		return step{"no token", p.Cause}, false
	case "signature":
		return step{"signed", "the key " + p.Key + " signed in " + p.Took}, false
	case "delivered":
		return step{"delivered", p.Answer + " (after " + p.Took + ")"}, true
	case "refused":
		return step{"refused", p.Answer}, true
	case "deferred":
		return step{"not taken", p.Answer}, true
	case "kept":
		return step{"kept", "safe in the spool, and will be sent: " + p.Why}, true
	}
	return step{}, false
}

// ofItself tells an event of one message from one of the upstream.
func (p passage) ofItself() bool { return p.ID != "" }

// errNotTaken is the error of a test message that nobody has.
var errNotTaken = errors.New("the message was not taken")

// follow prints the journey of the message that came with this hello, to its
// end or until the answer to its sender was an error.
func follow(journal io.Reader, hello string, answered <-chan error, print func(step) error) error {
	passages, over := make(chan passage), make(chan struct{})
	defer close(over)
	go read(journal, passages, over)
	var id string
	for {
		select {
		case err := <-answered:
			if err != nil {
				return err
			}
			answered = nil
		case p, more := <-passages:
			if !more {
				return errors.New("the journal ended before the message's journey: see the queue")
			}
			if p.Hello == hello {
				id = p.ID
			}
			if id == "" || p.ofItself() && p.ID != id {
				continue
			}
			s, last := p.step()
			if s.Step == "" {
				continue
			}
			if err := print(s); err != nil {
				return err
			}
			if last && (s.Step == "refused" || s.Step == "not taken") {
				return errNotTaken
			}
			if last {
				return nil
			}
		}
	}
}

// read gives the events of a journal until it ends, or nobody wants them.
func read(journal io.Reader, passages chan<- passage, over <-chan struct{}) {
	defer close(passages)
	for lines := bufio.NewScanner(journal); lines.Scan(); {
		var p passage
		if json.Unmarshal(lines.Bytes(), &p) != nil {
			continue
		}
		select {
		case passages <- p:
		case <-over:
			return
		}
	}
}
