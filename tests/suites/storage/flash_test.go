package storage

import (
	"errors"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/nbd"
)

// rejectMail makes the tenant reject every connection until its script changes.
func (s *flakySite) rejectMail() {
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONNECT" {
			return "421 4.3.2 Service not active"
		}
		return ""
	})
	s.tenant.DropConnections()
}

// TestFlash_MayBeSlowOrFail shares a box that is set up and starts for the first time
// on slow flash, while the tenant rejects mail.
func TestFlash_MayBeSlowOrFail(t *testing.T) {
	s := openFlakySite(t)
	shared := lab.Share(func(t *testing.T) *lab.Box {
		s.rejectMail()
		b := lab.New(t)
		b.SetUp(t, s.initialCandidate())
		b.Flash.Flash.SlowFlushes(time.Second) // creating the spool ring takes some seconds
		b.SwitchOn(t)
		return b
	})
	shared.Case(t, "mail is queued while the spool ring is created", func(t *testing.T, b *lab.Box) {
		b.AwaitBanner(t)
		if strings.Contains(b.KernelLog(), `event="spool opened"`) {
			t.Error("the spool ring was created before the first client connected")
		}
		if err := b.Send("while the spool ring is created"); err != nil {
			t.Errorf("the client got %v, want 250", err)
		}
	})
	shared.Case(t, "a spool is reopened after a failed write, and delivers", func(t *testing.T, b *lab.Box) {
		awaitFastFlash(t, b)
		s.reopensSpool(t, b)
		s.rejectMail()
	})
	shared.Case(t, "flash that rejects writes is reported, and mail is deferred", func(t *testing.T, b *lab.Box) {
		awaitFastFlash(t, b)
		s.servesWithoutFlash(t, b)
	})
	shared.Retire(t)
}

// awaitFastFlash makes the flash fast and waits until the box serves.
func awaitFastFlash(t *testing.T, b *lab.Box) {
	t.Helper()
	b.Flash.Flash.SlowFlushes(0)
	b.MustLog(t, lab.Serves, "clock set")
	b.AwaitBanner(t)
}

func (s *flakySite) reopensSpool(t *testing.T, b *lab.Box) {
	t.Helper()
	b.MustAccept(t)
	b.Flash.Flash.FailFlushes(1)
	if err := b.Send("while the flash fails"); err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("the client got %v, want 451", err)
	}
	arrived := len(s.tenant.Messages())
	s.tenant.SetScript(nil)
	for deadline := time.Now().Add(machine.WaitLimit); len(s.tenant.Messages()) == arrived; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the queued mail was not delivered within a minute")
		}
	}
	b.MustAccept(t)
}

// sendToServingRelay sends a message, again if the relay restarts meanwhile because
// its flash has failed: then it replies 421 or closes the connection.
func sendToServingRelay(t *testing.T, b *lab.Box, subject string) error {
	t.Helper()
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(200 * time.Millisecond) {
		b.AwaitBanner(t)
		err := b.Send(subject)
		var rejection *textproto.Error
		if restarting := err != nil && (!errors.As(err, &rejection) || rejection.Code == 421); !restarting || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *flakySite) servesWithoutFlash(t *testing.T, b *lab.Box) {
	t.Helper()
	b.Flash.Flash.FailWrites(nbd.Always)
	b.Flash.Flash.FailFlushes(nbd.Always)
	for i := range 3 {
		if err := sendToServingRelay(t, b, "nowhere to queue it"); err == nil || !strings.Contains(err.Error(), "451") {
			t.Errorf("attempt %d: the client got %v, want 451", i, err)
		}
		time.Sleep(2 * time.Second)
	}
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, "send\nexpect Menu:\nsend 1\nexpect relay\nexpect Menu:\n")
	t.Log(terminal.Transcript())
	s.tenant.SetScript(nil)
	for deadline := time.Now().Add(machine.WaitLimit); b.Send("by cut-through") != nil; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("no mail was delivered within two minutes, although the tenant accepts it")
		}
	}
}
