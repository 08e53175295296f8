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

// garbage is what a line carries that is set to another speed, or that leads to a
// machine which takes the box for a modem.
func garbage(octets int) string {
	noise := make([]byte, octets)
	source := rand.NewChaCha8([32]byte{'n', 'o', 'i', 's', 'e'})
	_, _ = source.Read(noise)
	return string(noise)
}

// rustle puts noise on the line as fast as the box reads it.
func rustle(t *testing.T, terminal *machine.Terminal, noise string) {
	t.Helper()
	const some = 16 << 10
	begun, size := time.Now(), len(noise)
	for noise != "" {
		n := min(some, len(noise))
		if err := terminal.Type(noise[:n]); err != nil {
			t.Fatalf("the box stopped reading: %v", errors.Unwrap(err))
		}
		noise = noise[n:]
	}
	t.Logf("%d octets of noise took the box %.1f s", size, time.Since(begun).Seconds())
}

// octets is how much noise the line carries. NOISE in the environment, which make
// soak sets, asks for more. That a megabyte changes nothing is shown beside the
// console's code, too, where it takes no emulated line.
func octets() int {
	n, err := strconv.Atoi(os.Getenv("NOISE"))
	if err != nil {
		return 8 << 10
	}
	return n
}

// ignoresNoise puts noise, wrong PINs and halves of a PFX on the serial line of a
// box that has a PIN.
func ignoresNoise(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	terminal := b.PlugIn(t)
	noise := garbage(octets())
	rustle(t, terminal, noise)
	if err := terminal.PressUntil("PIN:"); err != nil {
		t.Fatal(err)
	}
	guessing := time.Now()
	for range 10 {
		lab.Play(t, terminal, "send "+wrongPIN+"\nexpect That is not the PIN.\nexpect PIN:")
	}
	if cost := time.Since(guessing); cost < 10*time.Second {
		t.Errorf("ten wrong PINs cost no more than %s", cost)
	}
	lab.Play(t, terminal, "send "+pin+"\nexpect "+menu)
	if strings.Contains(terminal.Transcript(), pin) {
		t.Error("the line shows the PIN")
	}

	rustle(t, terminal, noise[:min(len(noise), 64<<10)])
	// Ctrl-C leaves whatever the noise has chosen.
	if err := errors.Join(terminal.Type("\x03\x03\x03"), terminal.PressUntil(menu)); err != nil {
		t.Fatal(err)
	}

	half := base64PFX(s.PFX)
	half = half[:len(half)/2]
	half = half[:strings.LastIndexByte(half, '\n')] // a cable is seldom pulled within a line
	const paste = "send 4\nexpect Certificate [1]:\nsend 2\nexpect Paste the PFX in base64 now\n"
	lab.Play(t, terminal, paste+pasted(half)+"\nsend .\nexpect PFX")
	if err := terminal.Type("\x03"); err != nil {
		t.Fatal(err)
	}
	lab.Play(t, terminal, "expect "+menu)
	lab.Play(t, terminal, paste+pasted(half))
	if err := terminal.Close(); err != nil { // the cable is pulled in the middle of it
		t.Fatal(err)
	}
	terminal = b.PlugIn(t)
	if err := errors.Join(terminal.PressUntil("The paste is incomplete"), terminal.Type("\x03")); err != nil {
		t.Fatal(err)
	}
	lab.Play(t, terminal, "expect "+menu)
	mustBeVerified(t, b.MustRelay(t, s))
}
