// Package lab is the whole box on a bench: the image that is shipped for QEMU,
// with a disk that can fail, a TPM, the site it is plugged into, and the hands
// that plug in cables and sticks.
//
// It knows how a box is set up and how mail, words and files get in and out of
// it. What the box should do with them is for the tests to say.
package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/nbd"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// Image is the folder with the box's image.
const Image = "../../../dist/qemu"

// program is sealpost for this machine, which sets up a box's disk before the
// box has it.
const program = "../../../dist/sealpost"

// Main is what a package of tests on boxes does as its TestMain. The network
// outside is there for prepare only.
func Main(m *testing.M, prepare ...func() error) {
	status, err := run(m, append(prepare, makeImage))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// run prepares while there is a network outside, and then leaves it.
func run(m *testing.M, prepare []func() error) (int, error) {
	for _, prepare := range prepare {
		if site.Isolated() {
			break
		}
		if err := prepare(); err != nil {
			return 0, err
		}
	}
	status, outside, err := site.Isolate()
	if outside || err != nil {
		return status, err
	}
	return m.Run(), nil
}

// makeImage makes the image, one package of tests at a time.
func makeImage() error {
	if err := os.MkdirAll(Image, 0o755); err != nil {
		return err
	}
	turn, err := os.Open(Image)
	if err != nil {
		return err
	}
	defer turn.Close()
	if err := unix.Flock(int(turn.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	output, err := exec.Command("make", "--no-print-directory", "-C", "../../..", "image", "dist/sealpost").CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the image: %w\n%s", err, output)
	}
	return nil
}

// stateSize is that of the box's disk, in bytes.
const stateSize = 64 << 20

// Box is a machine with its disk and its TPM.
type Box struct {
	*machine.Machine
	Flash *nbd.Server
	TPM   *parts.Swtpm
	Ports []int  // of the box that this machine reaches
	RTC   string // what its clock says when it is switched on
	// Kernel is more of the kernel's command line.
	Kernel string
	// NoDisk leaves the state device out, as a card that has come loose.
	NoDisk bool
}

// Start powers on a box that is new from the factory.
func Start(t *testing.T) *Box {
	t.Helper()
	b := New(t)
	b.SwitchOn(t)
	return b
}

// New is a box that is still switched off, and goes with the test.
func New(t *testing.T) *Box {
	t.Helper()
	// t.TempDir would carry the test's name, too long for a socket's path.
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &Box{TPM: parts.StartSwtpm(t), Ports: []int{25}}
	if b.Flash, err = nbd.Serve(nbd.NewFlash(stateSize, 1), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Flash.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Candidate is what a box is set up with, as the program reads it.
type Candidate struct {
	Settings string `json:"settings"`
	PFX      []byte `json:"pfx,omitempty"`
	Password string `json:"password,omitempty"`
	PIN      string `json:"pin,omitempty"`
}

// SetUp gives a box that is switched off its settings and its certificate, by
// the program's own hand on its disk and its TPM.
func (b *Box) SetUp(t *testing.T, c Candidate) {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, stateSize); err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.Command(program, "apply", "--config=", "--state="+disk, "--tpm="+b.TPM.Address())
	apply.Stdin = bytes.NewReader(wanted)
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("setting the box up: %v\n%s", err, output)
	}
	const area = 2 << 20 // of the settings, at the front
	content, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Flash.Flash.WriteAt(content[:area], 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Flash.Flash.Flush(); err != nil {
		t.Fatal(err)
	}
}

// SwitchOn switches the box on for the first time.
func (b *Box) SwitchOn(t *testing.T) {
	t.Helper()
	forward := map[int]int{}
	for _, port := range b.Ports {
		forward[port] = 0
	}
	var err error
	disk := b.Flash
	if b.NoDisk {
		disk = nil
	}
	b.Machine, err = machine.Start(machine.Config{Image: Image, Flash: disk, TPM: b.TPM, RTC: b.RTC, Kernel: b.Kernel,
		Network: machine.Network{Outside: true, Forward: forward}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.logIfFailed(t)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// SwitchOffAndOn cuts the power and starts the box with more of the kernel's
// command line.
func (b *Box) SwitchOffAndOn(t *testing.T, kernel string) {
	t.Helper()
	b.SetKernel(kernel)
	for _, act := range []func() error{b.Cut, b.PowerOn} {
		if err := act(); err != nil {
			t.Fatal(err)
		}
	}
}

// Running is a box that was set up and serves.
func Running(t *testing.T, c Candidate) *Box {
	t.Helper()
	b := New(t)
	b.SetUp(t, c)
	b.SwitchOn(t)
	b.AwaitWords(t, Serves, "clock set")
	return b
}
