package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/nbd"
)

// runningAlone is such a box whose tenant takes no mail.
func runningAlone(t *testing.T) (*inconstant, *lab.Box) {
	t.Helper()
	s := openInconstant(t)
	b := lab.Running(t, s.first())
	s.tenant.Behave(func(verb, _ string) string {
		if verb == "CONNECT" {
			return "421 4.3.2 Service not active"
		}
		return ""
	})
	return s, b
}

func TestARelayThatIsKilledOrHangsIsStartedAgainAndDelivers(t *testing.T) {
	s := lab.OpenSite(t)
	b := lab.Running(t, lab.FullyFor(s))
	for i, signal := range []string{"KILL", "STOP"} {
		begun := time.Now()
		if err := b.Fault(signal, "relay"); err != nil {
			t.Fatal(err)
		}
		for deadline := begun.Add(time.Minute); b.Greeting() != ""; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the relay goes on as if nothing had been", signal)
			}
		}
		b.Relays(t, s, i+1)
		t.Logf("%s: relaying again after %.1f s", signal, time.Since(begun).Seconds())
	}
	if b.Starts() != 1 {
		t.Errorf("the box restarted for it")
	}
}

func TestABoxWhoseFirstProcessEndsRestarts(t *testing.T) {
	s := lab.OpenSite(t)
	b := lab.Running(t, lab.FullyFor(s))
	if err := b.Fault("QUIT", "init"); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	b.Relays(t, s, 1)
}

func TestABoxWhoseFirstProcessHangsIsRestartedByTheWatchdog(t *testing.T) {
	s := lab.OpenSite(t)
	b := lab.Running(t, lab.FullyFor(s))
	if err := b.Fault("FREEZE", "init"); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted %.1f s after the first process hung", time.Since(frozen).Seconds())
	b.Relays(t, s, 1)
}

func TestASpoolPoisonedByAWriteThatFailedIsOpenedAnewAndDelivers(t *testing.T) {
	s, b := runningAlone(t)
	b.Keeps(t)
	b.Flash.Flash.FailFlushes(1)
	if err := b.Send("while the flash fails"); err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("the client heard %v", err)
	}
	s.tenant.Behave(nil)
	for deadline := time.Now().Add(time.Minute); len(s.tenant.Messages()) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was kept before is not delivered")
		}
	}
	b.Keeps(t)
}

func TestWhereTheFlashTakesNothingMoreTheBoxSaysSoAndRefusesSafely(t *testing.T) {
	s, b := runningAlone(t)
	b.Flash.Flash.FailWrites(nbd.Always)
	b.Flash.Flash.FailFlushes(nbd.Always)
	for i := range 3 {
		b.AwaitBanner(t)
		if err := b.Send("nowhere to keep it"); err == nil || !strings.Contains(err.Error(), "451") {
			t.Errorf("try %d: the client heard %v", i, err)
		}
		time.Sleep(2 * time.Second)
	}
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, "send\nexpect Menu:\nsend 1\nexpect relay\nexpect Menu:\n")
	t.Log(terminal.Transcript())
	s.tenant.Behave(nil)
	for deadline := time.Now().Add(2 * time.Minute); b.Send("by cut-through") != nil; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("mail does not even pass while the tenant takes it")
		}
	}
}
