package technician

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

const (
	pin      = "24681357"
	wrongPIN = "11111111"
	menu     = "Menu:"
)

// randomBytes returns what a line with the wrong speed receives, always the same.
func randomBytes(octets int) string {
	noise := make([]byte, octets)
	source := rand.NewChaCha8([32]byte{'n', 'o', 'i', 's', 'e'})
	_, _ = source.Read(noise)
	return string(noise)
}

// sendNoise sends noise as fast as the box reads it.
func sendNoise(t *testing.T, terminal *machine.Terminal, noise string) {
	t.Helper()
	const chunk = 16 << 10
	start, size := time.Now(), len(noise)
	for noise != "" {
		n := min(chunk, len(noise))
		if err := terminal.Type(noise[:n]); err != nil {
			t.Fatalf("the box stopped reading: %v", errors.Unwrap(err))
		}
		noise = noise[n:]
	}
	t.Logf("%d octets of noise took the box %.1f s", size, time.Since(start).Seconds())
}

// octets returns the amount of noise. The environment variable NOISE, which make soak
// sets, overrides it. The tests of the console package send a megabyte without QEMU.
func octets() int {
	n, err := strconv.Atoi(os.Getenv("NOISE"))
	if err != nil {
		return 8 << 10
	}
	return n
}

// ignoresNoise sends noise, wrong PINs and incomplete PFX files to a box with a PIN.
func ignoresNoise(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	terminal := b.PlugIn(t)
	noise := randomBytes(octets())
	sendNoise(t, terminal, noise)
	if err := terminal.PressUntil("PIN:"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 10 {
		lab.Play(t, terminal, "send "+wrongPIN+"\nexpect That is not the PIN.\nexpect PIN:")
	}
	if took := time.Since(start); took < 10*time.Second {
		t.Errorf("ten wrong PINs took %s, want at least 10 s", took)
	}
	lab.Play(t, terminal, "send "+pin+"\nexpect "+menu)
	if strings.Contains(terminal.Transcript(), pin) {
		t.Error("the serial line shows the PIN")
	}

	sendNoise(t, terminal, noise[:min(len(noise), 64<<10)])
	// Ctrl-C leaves any menu item that the noise selected.
	if err := errors.Join(terminal.Type("\x03\x03\x03"), terminal.PressUntil(menu)); err != nil {
		t.Fatal(err)
	}

	half := base64PFX(s.PFX)
	half = half[:len(half)/2]
	half = half[:strings.LastIndexByte(half, '\n')] // ends at the end of a line
	const paste = "send 4\nexpect Certificate [1]:\nsend 2\nexpect Paste the PFX in base64 now\n"
	lab.Play(t, terminal, paste+pasteScript(half)+"\nsend .\nexpect PFX")
	if err := terminal.Type("\x03"); err != nil {
		t.Fatal(err)
	}
	lab.Play(t, terminal, "expect "+menu)
	lab.Play(t, terminal, paste+pasteScript(half))
	if err := terminal.Close(); err != nil { // the cable is unplugged during the paste
		t.Fatal(err)
	}
	terminal = b.PlugIn(t)
	if err := errors.Join(terminal.PressUntil("The paste is incomplete"), terminal.Type("\x03")); err != nil {
		t.Fatal(err)
	}
	lab.Play(t, terminal, "expect "+menu)
	mustBeVerified(t, b.MustRelay(t, s))
}
