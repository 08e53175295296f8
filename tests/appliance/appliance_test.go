// Package appliance tests the whole box: the image that is shipped for QEMU,
// from its power plug to its serial console.
package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sealpost/tests/machine"
	"sealpost/tests/nbd"
	"sealpost/tests/parts"
	"sealpost/tests/site"
)

// image is the folder with the box's image.
const image = "../../dist/qemu"

// program is sealpost for this machine, which sets up a box's disk before the
// box has it.
const program = "../../dist/sealpost"

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// run makes the image while there is a network outside, and then leaves it.
func run(m *testing.M) (int, error) {
	if !site.Isolated() {
		if output, err := exec.Command("make", "--no-print-directory", "-C", "../..", "image", "dist/sealpost").CombinedOutput(); err != nil {
			return 0, fmt.Errorf("making the image: %w\n%s", err, output)
		}
	}
	status, outside, err := site.Isolate()
	if outside || err != nil {
		return status, err
	}
	return m.Run(), nil
}

// stateSize is that of the box's disk, in bytes.
const stateSize = 64 << 20

// box is a machine with its disk.
type box struct {
	*machine.Machine
	flash *nbd.Server
	tpm   *parts.Swtpm
	ports []int  // of the box that this machine reaches
	rtc   string // what its clock says when it is switched on
}

// start powers on a box that is new from the factory.
func start(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	b.powerOn(t)
	return b
}

// newBox is a box that is still switched off, and goes with the test.
func newBox(t *testing.T) *box {
	t.Helper()
	// t.TempDir would carry the test's name, too long for a socket's path.
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &box{tpm: parts.StartSwtpm(t), ports: []int{25}}
	if b.flash, err = nbd.Serve(nbd.NewFlash(stateSize, 1), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.flash.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// candidate is what a box is set up with, as the program reads it.
type candidate struct {
	Settings string `json:"settings"`
	PFX      []byte `json:"pfx,omitempty"`
	Password string `json:"password,omitempty"`
	PIN      string `json:"pin,omitempty"`
}

// setUp gives a box that is switched off its settings and its certificate, by
// the program's own hand on its disk and its TPM.
func (b *box) setUp(t *testing.T, c candidate) {
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
	apply := exec.Command(program, "apply", "--config=", "--state="+disk, "--tpm="+b.tpm.Address())
	apply.Stdin = bytes.NewReader(wanted)
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("setting the box up: %v\n%s", err, output)
	}
	const area = 2 << 20 // of the settings, at the front
	content, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.flash.Flash.WriteAt(content[:area], 0); err != nil {
		t.Fatal(err)
	}
	if err := b.flash.Flash.Flush(); err != nil {
		t.Fatal(err)
	}
}

// powerOn switches the box on for the first time.
func (b *box) powerOn(t *testing.T) {
	t.Helper()
	forward := map[int]int{}
	for _, port := range b.ports {
		forward[port] = 0
	}
	var err error
	b.Machine, err = machine.Start(machine.Config{Image: image, Flash: b.flash, TPM: b.tpm, RTC: b.rtc,
		Network: machine.Network{Outside: true, Forward: forward}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the kernel's log:\n%s", b.KernelLog())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}
