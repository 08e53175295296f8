package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/nbd"
)

// refuse makes the site's tenant refuse every connection for the time being.
func (s *inconstant) refuse() {
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONNECT" {
			return "421 4.3.2 Service not active"
		}
		return ""
	})
	s.tenant.DropConnections()
}

// TestFlash_MayBeSlowOrFail shares a box that was set up, is started for the
// first time on slow flash, and whose tenant takes no mail.
func TestFlash_MayBeSlowOrFail(t *testing.T) {
	s := openInconstant(t)
	shared := lab.Share(func(t *testing.T) *lab.Box {
		s.refuse()
		b := lab.New(t)
		b.SetUp(t, s.first())
		b.Flash.Flash.SlowFlushes(time.Second) // making the ring takes some seconds
		b.SwitchOn(t)
		return b
	})
	shared.Case(t, "mail of the first seconds is queued while the ring is made", func(t *testing.T, b *lab.Box) {
		b.AwaitBanner(t)
		if strings.Contains(b.KernelLog(), `event="spool opened"`) {
			t.Error("the ring was made before the first client came")
		}
		if err := b.Send("while the ring is being made"); err != nil {
			t.Errorf("the client heard %v", err)
		}
	})
	shared.Case(t, "a spool is opened again after a write that failed, and delivers", func(t *testing.T, b *lab.Box) {
		awaitFastFlash(t, b)
		s.reopensSpool(t, b)
		s.refuse()
	})
	shared.Case(t, "flash that takes no writes is reported, and mail is refused safely", func(t *testing.T, b *lab.Box) {
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

func (s *inconstant) reopensSpool(t *testing.T, b *lab.Box) {
	t.Helper()
	b.MustAccept(t)
	b.Flash.Flash.FailFlushes(1)
	if err := b.Send("while the flash fails"); err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("the client heard %v", err)
	}
	arrived := len(s.tenant.Messages())
	s.tenant.SetScript(nil)
	for deadline := time.Now().Add(time.Minute); len(s.tenant.Messages()) == arrived; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was queued before is not delivered")
		}
	}
	b.MustAccept(t)
}

func (s *inconstant) servesWithoutFlash(t *testing.T, b *lab.Box) {
	t.Helper()
	b.Flash.Flash.FailWrites(nbd.Always)
	b.Flash.Flash.FailFlushes(nbd.Always)
	for i := range 3 {
		b.AwaitBanner(t)
		if err := b.Send("nowhere to queue it"); err == nil || !strings.Contains(err.Error(), "451") {
			t.Errorf("attempt %d: the client heard %v", i, err)
		}
		time.Sleep(2 * time.Second)
	}
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, "send\nexpect Menu:\nsend 1\nexpect relay\nexpect Menu:\n")
	t.Log(terminal.Transcript())
	s.tenant.SetScript(nil)
	for deadline := time.Now().Add(2 * time.Minute); b.Send("by cut-through") != nil; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("no mail passes even while the tenant takes it")
		}
	}
}
