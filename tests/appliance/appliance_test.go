// Package appliance tests the whole box: the image that is shipped for QEMU,
// from its power plug to its serial console.
package appliance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sealpost/tests/machine"
	"sealpost/tests/nbd"
	"sealpost/tests/parts"
)

// image is the folder with the box's image.
const image = "../../dist/qemu"

func TestMain(m *testing.M) {
	if output, err := exec.Command("make", "--no-print-directory", "-C", "../..", "image").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "making the image: %v\n%s", err, output)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// stateSize is that of the box's disk, in bytes.
const stateSize = 64 << 20

// box is a machine with its disk.
type box struct {
	*machine.Machine
	flash *nbd.Server
	tpm   *parts.Swtpm
}

// start powers on a box that is new from the factory, with its SMTP port
// forwarded, and takes it away with the test.
func start(t *testing.T) *box {
	t.Helper()
	// t.TempDir would carry the test's name, too long for a socket's path.
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &box{tpm: parts.StartSwtpm(t)}
	if b.flash, err = nbd.Serve(nbd.NewFlash(stateSize, 1), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.flash.Close(); err != nil {
			t.Error(err)
		}
	})
	b.Machine, err = machine.Start(machine.Config{Image: image, Flash: b.flash, TPM: b.tpm,
		Network: machine.Network{Forward: map[int]int{25: 0}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
