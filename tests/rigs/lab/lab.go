// Package lab runs the whole box in QEMU: the shipped image with a disk that can
// fail, a TPM, its site, cables and USB sticks.
//
// It knows how to set up a box and how to exchange mail, console text and files
// with it. The tests define the expected behaviour.
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

// program is sealpost built for this machine. It prepares a box's disk before the
// box starts.
const program = "../../../dist/sealpost"

// Main is the TestMain of a package that tests boxes. Only prepare can reach the
// outside network.
func Main(m *testing.M, prepare ...func() error) {
	status, err := run(m, append(prepare, makeImage))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// run calls prepare with the outside network, and runs the tests without it.
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

// makeImage builds the image. A lock serialises the test packages.
func makeImage() error {
	if err := os.MkdirAll(Image, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(Image)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	output, err := exec.Command("make", "--no-print-directory", "-C", "../../..", "image", "dist/sealpost").CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the image: %w\n%s", err, output)
	}
	return nil
}

// stateSize is the size of the box's disk in bytes.
const stateSize = 64 << 20

// Box is a machine with its disk and its TPM.
type Box struct {
	*machine.Machine
	Flash *nbd.Server
	TPM   *parts.Swtpm
	Ports []int  // of the box, reachable from this machine
	RTC   string // the time of its clock when it is switched on
	// Kernel is appended to the kernel's command line.
	Kernel string
	// NoDisk omits the state device, like a loose card.
	NoDisk bool
}

// Start powers on a box that is new from the factory.
func Start(t *testing.T) *Box {
	t.Helper()
	b := New(t)
	b.SwitchOn(t)
	return b
}

// New returns a box that is switched off. It is closed when the test ends.
func New(t *testing.T) *Box {
	t.Helper()
	// t.TempDir contains the test's name, which is too long for a socket path.
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

// Candidate is the setup of a box in the program's format.
type Candidate struct {
	Settings string `json:"settings"`
	PFX      []byte `json:"pfx,omitempty"`
	Password string `json:"password,omitempty"`
	PIN      string `json:"pin,omitempty"`
}

// SetUp runs the program on the disk and TPM of a box that is switched off, to
// apply the settings and the certificate.
func (b *Box) SetUp(t *testing.T, c Candidate) {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, stateSize); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.Command(program, "apply", "--config=", "--state="+disk, "--tpm="+b.TPM.Address())
	apply.Stdin = bytes.NewReader(input)
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

// SwitchOffAndOn cuts the power and starts the box with other kernel arguments.
func (b *Box) SwitchOffAndOn(t *testing.T, kernel string) {
	t.Helper()
	b.SetKernel(kernel)
	for _, act := range []func() error{b.Cut, b.PowerOn} {
		if err := act(); err != nil {
			t.Fatal(err)
		}
	}
}

// Running returns a box that is set up and serves clients.
func Running(t *testing.T, c Candidate) *Box {
	t.Helper()
	b := New(t)
	b.SetUp(t, c)
	b.SwitchOn(t)
	b.MustLog(t, Serves, "clock set")
	return b
}
