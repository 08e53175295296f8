package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/nbd"
	"sealpost/tests/site"
)

// running is a box that was set up and serves.
func running(t *testing.T, c candidate) *box {
	t.Helper()
	b := newBox(t)
	b.setUp(t, c)
	b.powerOn(t)
	b.awaitLog(t, serves, "clock set")
	return b
}

// runningAlone is such a box whose tenant takes no mail.
func runningAlone(t *testing.T) (*inconstant, *box) {
	t.Helper()
	s := openInconstant(t)
	b := running(t, s.first())
	s.tenant.Behave(func(verb, _ string) string {
		if verb == "CONNECT" {
			return "421 4.3.2 Service not active"
		}
		return ""
	})
	return s, b
}

// relays checks that the box takes a message and that it arrives, the n-th of
// all.
func (b *box) relays(t *testing.T, s *site.Site, n int) {
	t.Helper()
	b.awaitBanner(t)
	b.keeps(t)
	if _, err := s.Postfix.Messages(n); err != nil {
		t.Fatal(err)
	}
}

// keeps waits until the box takes a message, be it to keep it.
func (b *box) keeps(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		err := b.send("to be kept")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestARelayThatIsKilledOrHangsIsStartedAgainAndDelivers(t *testing.T) {
	s := openSite(t)
	b := running(t, fullyFor(s))
	for i, signal := range []string{"KILL", "STOP"} {
		begun := time.Now()
		if err := b.Fault(signal, "relay"); err != nil {
			t.Fatal(err)
		}
		for deadline := begun.Add(time.Minute); b.greeting() != ""; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the relay goes on as if nothing had been", signal)
			}
		}
		b.relays(t, s, i+1)
		t.Logf("%s: relaying again after %.1f s", signal, time.Since(begun).Seconds())
	}
	if b.Starts() != 1 {
		t.Errorf("the box restarted for it")
	}
}

func TestABoxWhoseFirstProcessEndsRestarts(t *testing.T) {
	s := openSite(t)
	b := running(t, fullyFor(s))
	if err := b.Fault("QUIT", "init"); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	b.relays(t, s, 1)
}

func TestABoxWhoseFirstProcessHangsIsRestartedByTheWatchdog(t *testing.T) {
	s := openSite(t)
	b := running(t, fullyFor(s))
	if err := b.Fault("FREEZE", "init"); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted %.1f s after the first process hung", time.Since(frozen).Seconds())
	b.relays(t, s, 1)
}

func TestASpoolPoisonedByAWriteThatFailedIsOpenedAnewAndDelivers(t *testing.T) {
	s, b := runningAlone(t)
	b.keeps(t)
	b.flash.Flash.FailFlushes(1)
	if err := b.send("while the flash fails"); err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("the client heard %v", err)
	}
	s.tenant.Behave(nil)
	for deadline := time.Now().Add(time.Minute); len(s.tenant.Messages()) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was kept before is not delivered")
		}
	}
	b.keeps(t)
}

func TestWhereTheFlashTakesNothingMoreTheBoxSaysSoAndRefusesSafely(t *testing.T) {
	s, b := runningAlone(t)
	b.flash.Flash.FailWrites(nbd.Always)
	b.flash.Flash.FailFlushes(nbd.Always)
	for i := range 3 {
		b.awaitBanner(t)
		if err := b.send("nowhere to keep it"); err == nil || !strings.Contains(err.Error(), "451") {
			t.Errorf("try %d: the client heard %v", i, err)
		}
		time.Sleep(2 * time.Second)
	}
	terminal := b.plugIn(t)
	play(t, terminal, "send\nexpect Menu:\nsend 1\nexpect relay\nexpect Menu:\n")
	t.Log(terminal.Transcript())
	s.tenant.Behave(nil)
	for deadline := time.Now().Add(2 * time.Minute); b.send("by cut-through") != nil; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("mail does not even pass while the tenant takes it")
		}
	}
}
