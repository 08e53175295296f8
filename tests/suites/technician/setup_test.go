package technician

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// TestConfiguredBox_HandlesConsoleSticksLampAndButton shares a box that is set up,
// serves, and has a PIN for its console. Each stick changes the host name, which shows
// whether it was applied.
func TestConfiguredBox_HandlesConsoleSticksLampAndButton(t *testing.T) {
	s := lab.StartSite(t)
	shared := lab.Share(func(t *testing.T) *lab.Box {
		candidate := lab.CandidateFor(s)
		candidate.PIN = pin
		b := lab.Running(t, candidate)
		b.MustLog(t, "console on /dev/ttyAMA0", "console on /dev/ttyGS0")
		return b
	})
	shared.Case(t, "ignores noise and mistakes on the serial line", func(t *testing.T, b *lab.Box) { ignoresNoise(t, s, b) })
	shared.Case(t, "applies an exFAT stick", func(t *testing.T, b *lab.Box) {
		stick := exFATStick(t, filesNamed(s, "exfat"))
		insertStick(t, b, "exfat", stick, appliedPattern)
		content, err := os.ReadFile(stick.Image)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte("The box has applied these files.")) {
			t.Error("the result is not on the stick")
		}
		mustServeAs(t, s, b, "exfat")
	})
	shared.Case(t, "applies a write-protected stick and reports the protection", func(t *testing.T, b *lab.Box) {
		if err := b.InsertProtected("protected", lab.NewStick(t, filesNamed(s, "protected")).Image); err != nil {
			t.Fatal(err)
		}
		awaitLamp(t, b, appliedPattern)
		b.MustLog(t, "write-protected")
		mustServeAs(t, s, b, "protected")
		if err := b.Remove("protected"); err != nil {
			t.Fatal(err)
		}
	})
	shared.Case(t, "applies a stick that is removed early completely or not at all", func(t *testing.T, b *lab.Box) { survivesPulledSticks(t, s, b) })
	shared.Case(t, "shows by its lamp whether mail is held", func(t *testing.T, b *lab.Box) { showsHeldMailByLamp(t, s, b) })
	shared.Case(t, "lets a device in, limits it, and reports its silence", func(t *testing.T, b *lab.Box) { adoptsADevice(t, s, b) })
	shared.Case(t, "is erased only by a long press of its button", isErasedByButton)
	shared.Retire(t)
}

// filesNamed returns the files of a stick that sets the host name.
func filesNamed(s *site.Site, name string) map[string]string {
	files := lab.FilesFor(s)
	files["sealpost/sealpost.toml"] += fmt.Sprintf("[lan]\nhostname = %q\n", hostname(name))
	return files
}

func hostname(name string) string { return name + "." + site.Domain }

// mustServeAs checks that the box has the host name and relays with the site's
// certificate.
func mustServeAs(t *testing.T, s *site.Site, b *lab.Box, name string) {
	t.Helper()
	for deadline := time.Now().Add(machine.WaitLimit); !servesAs(b, name); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got greeting %[2]q, want host name %[1]s", hostname(name), b.Greeting())
		}
	}
	mustBeVerified(t, b.MustRelay(t, s))
}

func servesAs(b *lab.Box, name string) bool {
	return strings.HasPrefix(b.Greeting(), "220 "+hostname(name)+" ")
}

// survivesPulledSticks removes sticks at several moments while the box applies them.
// The box must then relay, and apply a stick that stays in.
func survivesPulledSticks(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	for i, delay := range []time.Duration{0, 100, 300, 600, 1000, 1500} {
		name := fmt.Sprintf("pulled%d", i)
		attached := strings.Count(b.KernelLog(), lab.StickAttached)
		if err := lab.NewStick(t, filesNamed(s, name)).Insert(b, name); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitLogTimes(attached+1, lab.StickAttached); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay * time.Millisecond)
		if err := b.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	mustBeVerified(t, b.MustRelay(t, s))
	if text := applyStick(t, b, "left", lab.NewStick(t, filesNamed(s, "left")), appliedPattern); !strings.Contains(text, "The box has applied these files.") {
		t.Errorf("the result for the stick that stayed in lacks \"applied these files\":\n%s", text)
	}
	mustServeAs(t, s, b, "left")
}
