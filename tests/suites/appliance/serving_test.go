package appliance

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// TestServingBox_RecoversFromFaults shares a box that is set up for a site with
// Postfix as its tenant.
func TestServingBox_RecoversFromFaults(t *testing.T) {
	s := lab.StartSite(t)
	var startTimes []time.Duration
	shared := lab.Share(func(t *testing.T) *lab.Box {
		b := lab.New(t)
		b.SetUp(t, lab.CandidateFor(s))
		b.SwitchOn(t)
		return b
	})
	serving := func(name string, run func(t *testing.T, b *lab.Box)) {
		shared.Case(t, name, func(t *testing.T, b *lab.Box) {
			run(t, b)
			startTimes = append(startTimes, timeToGreeting(t, b))
		})
	}
	serving("relays after the start", func(t *testing.T, b *lab.Box) {
		b.AwaitBanner(t)
		text := lab.MustArrive(t, s, func() {
			if err := b.Send("first"); err != nil {
				t.Fatal(err)
			}
		})
		if !strings.Contains(text, `Client CN "relay.contoso.com"`) || !strings.Contains(text, "verified OK") {
			t.Errorf("want the verified certificate of relay.contoso.com in the message:\n%s", text)
		}
	})
	for _, signal := range []string{"KILL", "STOP"} {
		shared.Case(t, "restarts a relay after SIG"+signal, func(t *testing.T, b *lab.Box) { restartsRelay(t, s, b, signal) })
	}
	serving("restarts when PID 1 exits", func(t *testing.T, b *lab.Box) { restartsBox(t, s, b, "QUIT") })
	serving("is restarted by the watchdog when PID 1 hangs", func(t *testing.T, b *lab.Box) { restartsBox(t, s, b, "FREEZE") })
	shared.Case(t, "logs the start time and the free memory", func(t *testing.T, b *lab.Box) {
		b.MustRelay(t, s)
		if len(startTimes) == 0 { // only this case runs
			startTimes = append(startTimes, timeToGreeting(t, b))
		}
		logsFigures(t, b, startTimes)
	})
}

// restartsRelay checks that PID 1 starts the relay again after a signal, without
// a restart of the box, and that mail is delivered.
func restartsRelay(t *testing.T, s *site.Site, b *lab.Box, signal string) {
	t.Helper()
	b.MustLog(t, lab.Serves, "clock set")
	starts, start := b.Starts(), time.Now()
	if err := b.Fault(signal, "relay"); err != nil {
		t.Fatal(err)
	}
	for deadline := start.Add(machine.WaitLimit); b.Greeting() != ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the relay still serves a minute after the signal")
		}
	}
	b.MustRelay(t, s)
	t.Logf("relaying again after %.1f s", time.Since(start).Seconds())
	if b.Starts() != starts {
		t.Error("the box restarted")
	}
}

// restartsBox checks that the box restarts after a fault of PID 1, and relays.
func restartsBox(t *testing.T, s *site.Site, b *lab.Box, fault string) {
	t.Helper()
	b.MustLog(t, lab.Serves, "clock set")
	starts, start := b.Starts(), time.Now()
	if err := b.Fault(fault, "init"); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(starts + 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted after %.1f s", time.Since(start).Seconds())
	b.MustRelay(t, s)
}

// timeToGreeting returns the time from the start of PID 1 to the first greeting.
func timeToGreeting(t *testing.T, b *lab.Box) time.Duration {
	t.Helper()
	start, err := b.AwaitLogTime(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.AwaitLogTime(lab.Serves)
	if err != nil {
		t.Fatal(err)
	}
	return at - start
}

// memoryLine matches the memory line of the console's status.
var memoryLine = regexp.MustCompile(`memory +(\d+ of \d+ MiB free)`)

// logsFigures logs the times, memory and sizes that docs/appliance.md states.
func logsFigures(t *testing.T, b *lab.Box, startTimes []time.Duration) {
	t.Helper()
	slices.Sort(startTimes)
	t.Logf("from PID 1 to the greeting, in %d starts: %s to %s, median %s", len(startTimes), startTimes[0], startTimes[len(startTimes)-1], startTimes[len(startTimes)/2])
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
