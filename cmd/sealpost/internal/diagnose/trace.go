package diagnose

import (
	"errors"
	"fmt"
	"io"
	"time"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/operator"
	"sealpost/relay/journal"
)

// StepOf describes a journal event, and reports whether it is the last of a message.
// An event that is no step of a message has no name.
func StepOf(r journal.Record) (s operator.Step, last bool) {
	switch r.Event {
	case journal.EventReceived:
		return operator.Step{Name: "received", Text: fmt.Sprintf("%d octets", r.Octets)}, false
	case journal.EventUpstreamConnected:
		shown := r.Upstream.Certificate
		if r.Upstream.Account != "" {
			shown = "logged in as " + r.Upstream.Account
		}
		return operator.Step{Name: "connected", Text: fmt.Sprintf("%s at %s, %s (%s), %s", r.Upstream.Host, r.Upstream.Address, r.Upstream.TLS, r.Upstream.Wanted, shown)}, false
	case journal.EventUpstreamNotConnected:
		return operator.Step{Name: "no answer", Text: r.Cause}, false
	case journal.EventAccessToken:
		return operator.Step{Name: "token", Text: "granted on the " + r.Grant + " in " + r.Took}, false
	case journal.EventNoAccessToken:
		return operator.Step{Name: "no token", Text: r.Cause}, false
	case journal.EventSignature:
		return operator.Step{Name: "signed", Text: signed(r)}, false
	case journal.EventDelivered:
		by := ""
		if r.Upstream.Route != "" {
			by = " by " + r.Upstream.Route
		}
		return operator.Step{Name: "delivered", Text: r.Answer + " (after " + r.Took + by + ")"}, true
	case journal.EventRefused:
		return operator.Step{Name: "refused", Text: r.Answer}, true
	case journal.EventDeferred:
		return operator.Step{Name: "not accepted", Text: r.Answer}, true
	case journal.EventQueued:
		return operator.Step{Name: "queued", Text: "stored in the spool, and will be sent: " + r.Why}, true
	}
	return operator.Step{}, false
}

// signed describes which key signed, and how long that took.
func signed(r journal.Record) string {
	signer, duration := "the key in memory", r.Took
	if keyring.Protection(r.Key) == keyring.TPMResident {
		signer = "the TPM"
	}
	if d, err := time.ParseDuration(r.Took); err == nil {
		duration = fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return signer + " signed in " + duration
}

// errNotAccepted is the error of a test message that was not accepted.
var errNotAccepted = errors.New("the message was not accepted")

// follow yields the steps of the message with this EHLO name, until it is delivered
// or its client got an error.
func follow(stream io.Reader, hello string, replied <-chan error, step func(operator.Step) error) error {
	records, done := make(chan journal.Record), make(chan struct{})
	defer close(done)
	go read(stream, records, done)
	var id string
	for {
		select {
		case err := <-replied:
			if err != nil {
				return err
			}
			replied = nil
		case r, more := <-records:
			if !more {
				return errors.New("the journal ended before the message was delivered: see the queue")
			}
			if r.Hello == hello {
				id = r.ID
			}
			if id == "" || r.ID != "" && r.ID != id {
				continue // before the message, or another's; events without an ID are the upstream's
			}
			s, last := StepOf(r)
			if s.Name == "" {
				continue
			}
			if r.Event == journal.EventReceived {
				s.Text += ", ID " + r.ID
			}
			if err := step(s); err != nil {
				return err
			}
			if last && (r.Event == journal.EventRefused || r.Event == journal.EventDeferred) {
				return errNotAccepted
			}
			if last {
				return nil
			}
		}
	}
}

// read yields the events of a journal until it or the caller ends.
func read(stream io.Reader, records chan<- journal.Record, done <-chan struct{}) {
	defer close(records)
	for r, err := range journal.Read(stream) {
		if err != nil {
			return
		}
		select {
		case records <- r:
		case <-done:
			return
		}
	}
}
