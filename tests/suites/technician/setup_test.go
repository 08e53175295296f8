package technician

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/site"
)

// TestSetUpBox_ObeysWhoeverIsInFrontOfIt shares a box that was set up for a site,
// serves, and has a PIN for its console. A stick changes its host name, by which
// a case tells that the stick was applied.
func TestSetUpBox_ObeysWhoeverIsInFrontOfIt(t *testing.T) {
	s := lab.StartSite(t)
	shared := lab.Share(func(t *testing.T) *lab.Box {
		locked := lab.CandidateFor(s)
		locked.PIN = pin
		b := lab.Running(t, locked)
		b.MustLog(t, "console on /dev/ttyAMA0", "console on /dev/ttyGS0")
		return b
	})
	shared.Case(t, "ignores noise and mistakes on the serial line", func(t *testing.T, b *lab.Box) { ignoresNoise(t, s, b) })
	shared.Case(t, "applies an exFAT stick", func(t *testing.T, b *lab.Box) {
		stick := exFATStick(t, filesNamed(s, "exfat"))
		show(t, b, "exfat", stick, done)
		content, err := os.ReadFile(stick.Image)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte("The box has applied these files.")) {
			t.Error("the result is not on the stick")
		}
		mustServeAs(t, s, b, "exfat")
	})
	shared.Case(t, "applies a write-protected stick and says that it is protected", func(t *testing.T, b *lab.Box) {
		if err := b.InsertProtected("protected", lab.NewStick(t, filesNamed(s, "protected")).Image); err != nil {
			t.Fatal(err)
		}
		awaitLamp(t, b, done)
		b.MustLog(t, "write-protected")
		mustServeAs(t, s, b, "protected")
		if err := b.Remove("protected"); err != nil {
			t.Fatal(err)
		}
	})
	shared.Case(t, "applies a stick that is pulled out too early wholly or not at all", func(t *testing.T, b *lab.Box) { survivesPulledSticks(t, s, b) })
	shared.Case(t, "shows by its lamp that mail flows and that it is held", func(t *testing.T, b *lab.Box) { showsMailByLamp(t, s, b) })
	shared.Case(t, "is erased by its button only when that is held", erasedByButton)
	shared.Retire(t)
}

// filesNamed are the files of a stick that gives the box a host name.
func filesNamed(s *site.Site, name string) map[string]string {
	files := lab.FilesFor(s)
	files["sealpost/sealpost.toml"] += fmt.Sprintf("[lan]\nhostname = %q\n", hostname(name))
	return files
}

func hostname(name string) string { return name + "." + site.Domain }

// mustServeAs checks that the box has the host name and relays under the site's
// certificate.
func mustServeAs(t *testing.T, s *site.Site, b *lab.Box, name string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !servesAs(b, name); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the box does not greet as %s but with %q", hostname(name), b.Greeting())
		}
	}
	mustBeVerified(t, b.MustRelay(t, s))
}

func servesAs(b *lab.Box, name string) bool {
	return strings.HasPrefix(b.Greeting(), "220 "+hostname(name)+" ")
}

// survivesPulledSticks pulls sticks out at several moments while the box applies
// them. The box then relays, and applies a stick that is left in.
func survivesPulledSticks(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	for i, wait := range []time.Duration{0, 100, 300, 600, 1000, 1500} {
		name := fmt.Sprintf("pulled%d", i)
		seen := strings.Count(b.KernelLog(), lab.StickAttached)
		if err := lab.NewStick(t, filesNamed(s, name)).Insert(b, name); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitLogTimes(seen+1, lab.StickAttached); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		if err := b.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	mustBeVerified(t, b.MustRelay(t, s))
	if text := take(t, b, "left", lab.NewStick(t, filesNamed(s, "left")), done); !strings.Contains(text, "The box has applied these files.") {
		t.Errorf("the result of the stick that was left in is\n%s", text)
	}
	mustServeAs(t, s, b, "left")
}
