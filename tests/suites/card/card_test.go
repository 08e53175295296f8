//go:build release

package card

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/pi"
	"sealpost/tests/rigs/practice"
)

const (
	dist = "../../../dist"
	mac  = "b8:27:eb:12:34:56"
	// limit is for what the emulated board does by itself, on a machine that does other
	// work too.
	limit = 5 * time.Minute
)

// screens makes the tests write the console output to docs/screens.
var screens = flag.Bool("screens", false, "write the console's screens to docs/screens")

// bench is a board on a desk: its card, its TPM and its network.
type bench struct {
	config  pi.Config
	site    *practice.Site
	address string // of the box's port 25
	board   *pi.Pi
	started time.Time
}

// newBench flashes the image of a board to a card. It fails without the image.
func newBench(t *testing.T, name string) *bench {
	t.Helper()
	version, err := os.ReadFile("../../../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dist, name, "sealpost-"+name+"-"+strings.TrimSpace(string(version))+".img")
	find := exec.Command("../../tools/qemu", dist+"/emulator")
	find.Stderr = os.Stderr
	qemu, err := find.Output()
	if err != nil {
		t.Fatalf("finding a QEMU: %v", err)
	}
	// t.TempDir contains the test's name, which is too long for a socket path.
	dir, err := os.MkdirTemp("", "card")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{address: fmt.Sprintf("127.0.0.1:%d", port)}
	if b.site, err = practice.Start(filepath.Join(dir, "practice"), mac, b.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.board != nil {
			_ = b.board.Close()
		}
		if err := b.site.Close(); err != nil {
			t.Error(err)
		}
	})
	b.config = pi.Config{QEMU: strings.TrimSpace(string(qemu)), Board: pi.Boards[name], Card: filepath.Join(dir, "card"),
		Network: b.site.Socket(), MAC: mac}
	if b.config.Board.HasTPM() {
		b.config.TPM = parts.StartSwtpmControl(t)
	}
	// The first start reads all of the state, and the emulated card only 2 MB each second.
	const stateSize = 18 << 20
	if err := pi.Flash(image, b.config.Card, stateSize); err != nil {
		t.Fatal(err)
	}
	return b
}

// on powers the board on and plugs in the serial cable.
func (b *bench) on(t *testing.T) *machine.Terminal {
	t.Helper()
	var err error
	b.started = time.Now()
	if b.board, err = pi.Start(b.config); err != nil {
		t.Fatal(err)
	}
	line, err := b.board.Console()
	if err != nil {
		t.Fatal(err)
	}
	terminal := machine.NewTerminal(line)
	terminal.Timeout = limit
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console:\n%s", terminal.Transcript())
		}
		_ = terminal.Close()
	})
	return terminal
}

// off cuts the power of the board and of its TPM.
func (b *bench) off(t *testing.T) {
	t.Helper()
	if err := b.board.Close(); err != nil {
		t.Error(err)
	}
	b.board = nil
	if b.config.TPM == nil {
		return
	}
	if err := b.config.TPM.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.config.TPM.Start(); err != nil {
		t.Fatal(err)
	}
}

// settings are those of a box at the practice site.
func (b *bench) settings() string {
	text := b.site.Files.Settings()
	if b.config.TPM == nil {
		text += "[keys]\nprotection = \"file\"\n"
	}
	return text
}

// awaitTime waits until the box has asked for the time, which a technician, who types more
// slowly than a test, would not notice.
func (b *bench) awaitTime(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(limit); b.site.TimeRequests() == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the box has not asked for the time within %s", limit)
		}
	}
}

// awaitService waits until the box accepts connections, and returns how long that took
// since the power came.
func (b *bench) awaitService(t *testing.T) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		if strings.HasPrefix(lab.Greeting(b.address), "220 ") {
			return time.Since(b.started)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the box does not greet within %s", limit)
		}
	}
}

// mustRelay sends a message as a device does, and returns how long it took until the
// tenant had it.
func (b *bench) mustRelay(t *testing.T, subject string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := lab.Send(b.address, "printer@"+practice.Domain, subject); err != nil {
		t.Fatalf("sending %q: %v", subject, err)
	}
	b.awaitMessage(t, subject)
	return time.Since(start)
}

// awaitMessage waits until the tenant has a message.
func (b *bench) awaitMessage(t *testing.T, subject string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		for _, m := range b.site.Tenant.Messages() {
			if strings.Contains(string(m.Content), "Subject: "+subject+"\r\n") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the tenant has no message %q within %s", subject, limit)
		}
	}
}

func play(t *testing.T, terminal *machine.Terminal, script string, texts ...string) {
	t.Helper()
	if err := terminal.Play(strings.NewReplacer(texts...).Replace(script)); err != nil {
		t.Fatal(err)
	}
}

// paste returns a script that sends a text line by line.
func paste(text string) string {
	return "send " + strings.Join(strings.Split(strings.TrimSpace(text), "\n"), "\nsend ")
}

// firstStart is the dialogue of a technician with complete settings. A slow board may
// queue the test message first, and say so.
const firstStart = `
	expect Press Enter to begin
	send
	expect How [1]:
	send 2
	expect Paste the sealpost.toml now
	<the settings>
	send .
	expect Certificate [1]:
	send
	expect Paste the PFX
	<the PFX>
	expect Password of the PFX
	send practice
	expect It is valid.
	expect PIN for this console
	send
	expect Type "apply"
	send apply
	expect The changes are active.
	expect it accepts our mail
	expect No problems found.
	expect Send a test message to
	send
	expect received
	expect Menu:
`

// TestCard_RelaysFromItsFirstStartOn sets a new card up over the serial line, cuts its
// power, and tries its other slot.
func TestCard_RelaysFromItsFirstStartOn(t *testing.T) {
	for name := range pi.Boards {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, name)
			terminal := b.on(t)
			b.awaitTime(t)
			play(t, terminal, firstStart, "<the settings>", paste(b.settings()), "<the PFX>", paste(b.site.Files.PFXText()))
			saveScreen(t, terminal, "card-"+name+".txt")
			b.awaitMessage(t, "Sealpost test message")
			t.Logf("set up %.0f s after the power came", time.Since(b.started).Seconds())
			t.Logf("relayed after %.1f s", b.mustRelay(t, "first").Seconds())
			for _, tryboot := range []bool{false, true} {
				b.off(t)
				b.config.Tryboot = tryboot
				b.on(t)
				slot := b.board.Selection.Partition
				if tryboot != (slot == 3) {
					t.Errorf("with tryboot %v: got partition %d", tryboot, slot)
				}
				t.Logf("partition %d: serves %.1f s after the power came", slot, b.awaitService(t).Seconds())
				t.Logf("relayed after %.1f s", b.mustRelay(t, fmt.Sprint("from partition ", slot)).Seconds())
			}
		})
	}
}

// saveScreen writes the console output to docs/screens if -screens is set.
func saveScreen(t *testing.T, terminal *machine.Terminal, name string) {
	t.Helper()
	if !*screens {
		return
	}
	text := strings.ReplaceAll(terminal.Transcript(), "\r\n", "\n")
	if err := os.WriteFile(filepath.Join("../../../docs/screens", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
