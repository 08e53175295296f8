package appliance

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
)

// memoryLine is what the console's status says of the memory.
var memoryLine = regexp.MustCompile(`memory +(\d+ of \d+ MiB free)`)

// greetsAfter is how long after the start of its first process a box greeted
// its clients.
func greetsAfter(t *testing.T, b *lab.Box) time.Duration {
	t.Helper()
	begun, err := b.Said(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.Said(lab.Serves)
	if err != nil {
		t.Fatal(err)
	}
	return at - begun
}

func TestABoxTellsHowSoonItServesAndWhatMemoryIsLeft(t *testing.T) {
	s, b := lab.OpenSite(t), lab.New(t)
	b.SetUp(t, lab.FullyFor(s))
	b.SwitchOn(t)
	const starts = 5
	var times []time.Duration
	for len(times) < starts {
		times = append(times, greetsAfter(t, b))
		if err := b.Cut(); err != nil {
			t.Fatal(err)
		}
		if err := b.PowerOn(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(times)
	t.Logf("from the first process to the banner, in %d starts: %s to %s, median %s", starts, times[0], times[starts-1], times[starts/2])
	b.AwaitWords(t, lab.Serves, "console on /dev/ttyGS0")
	b.Relays(t, s, 1)
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, `
		send
		expect Menu:
		send 1
		expect MiB free
		expect Menu:`)
	free := memoryLine.FindStringSubmatch(terminal.Transcript())
	if free == nil {
		t.Fatalf("the status does not tell of the memory:\n%s", terminal.Transcript())
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
