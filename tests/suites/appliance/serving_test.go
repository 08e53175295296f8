package appliance

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/site"
)

// TestServingBox_RecoversFromFaults shares a box that was set up for a site with
// a Postfix as its tenant.
func TestServingBox_RecoversFromFaults(t *testing.T) {
	s := lab.StartSite(t)
	var greeted []time.Duration
	shared := lab.Share(func(t *testing.T) *lab.Box {
		b := lab.New(t)
		b.SetUp(t, lab.CandidateFor(s))
		b.SwitchOn(t)
		return b
	})
	serving := func(name string, run func(t *testing.T, b *lab.Box)) {
		shared.Case(t, name, func(t *testing.T, b *lab.Box) {
			run(t, b)
			greeted = append(greeted, greetsAfter(t, b))
		})
	}
	serving("relays from the first seconds on", func(t *testing.T, b *lab.Box) {
		b.AwaitBanner(t)
		text := lab.MustArrive(t, s, func() {
			if err := b.Send("first"); err != nil {
				t.Fatal(err)
			}
		})
		if !strings.Contains(text, `Client CN "relay.contoso.com"`) || !strings.Contains(text, "verified OK") {
			t.Errorf("Postfix says of the certificate:\n%s", text)
		}
	})
	for _, signal := range []string{"KILL", "STOP"} {
		shared.Case(t, "restarts a relay that was sent "+signal, func(t *testing.T, b *lab.Box) { restartsRelay(t, s, b, signal) })
	}
	serving("restarts when PID 1 ends", func(t *testing.T, b *lab.Box) { restartsItself(t, s, b, "QUIT") })
	serving("is restarted by the watchdog when PID 1 hangs", func(t *testing.T, b *lab.Box) { restartsItself(t, s, b, "FREEZE") })
	shared.Case(t, "tells how soon it serves and what memory is free", func(t *testing.T, b *lab.Box) {
		b.MustRelay(t, s)
		if len(greeted) == 0 { // this case alone was asked for
			greeted = append(greeted, greetsAfter(t, b))
		}
		tellsFigures(t, b, greeted)
	})
}

// restartsRelay checks that PID 1 starts the relay again after a signal, without
// a restart of the box, and that mail is delivered.
func restartsRelay(t *testing.T, s *site.Site, b *lab.Box, signal string) {
	t.Helper()
	b.MustLog(t, lab.Serves, "clock set")
	starts, begun := b.Starts(), time.Now()
	if err := b.Fault(signal, "relay"); err != nil {
		t.Fatal(err)
	}
	for deadline := begun.Add(time.Minute); b.Greeting() != ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the relay goes on as if nothing had happened")
		}
	}
	b.MustRelay(t, s)
	t.Logf("relaying again after %.1f s", time.Since(begun).Seconds())
	if b.Starts() != starts {
		t.Error("the box restarted")
	}
}

// restartsItself checks that the box restarts after a fault of PID 1, and relays.
func restartsItself(t *testing.T, s *site.Site, b *lab.Box, fault string) {
	t.Helper()
	b.MustLog(t, lab.Serves, "clock set")
	starts, begun := b.Starts(), time.Now()
	if err := b.Fault(fault, "init"); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(starts + 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted after %.1f s", time.Since(begun).Seconds())
	b.MustRelay(t, s)
}

// greetsAfter is the time from the start of PID 1 to the first greeting.
func greetsAfter(t *testing.T, b *lab.Box) time.Duration {
	t.Helper()
	begun, err := b.AwaitLogTime(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.AwaitLogTime(lab.Serves)
	if err != nil {
		t.Fatal(err)
	}
	return at - begun
}

// memoryLine is the line of the console's status about memory.
var memoryLine = regexp.MustCompile(`memory +(\d+ of \d+ MiB free)`)

// tellsFigures logs what docs/appliance.md says of time, memory and size.
func tellsFigures(t *testing.T, b *lab.Box, greeted []time.Duration) {
	t.Helper()
	slices.Sort(greeted)
	t.Logf("from PID 1 to the greeting, in %d starts: %s to %s, median %s", len(greeted), greeted[0], greeted[len(greeted)-1], greeted[len(greeted)/2])
	b.MustLog(t, "console on /dev/ttyGS0")
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, `
		send
		expect Menu:
		send 1
		expect MiB free
		expect Menu:`)
	free := memoryLine.FindStringSubmatch(terminal.Transcript())
	if free == nil {
		t.Fatalf("the status does not show the memory:\n%s", terminal.Transcript())
	}
	t.Logf("with every process running and a message relayed: %s", free[1])
	for _, part := range []string{"vmlinuz", "initramfs"} {
		info, err := os.Stat(lab.Image + "/" + part)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-10s %.1f MB", part, float64(info.Size())/1e6)
	}
}
