//go:build release

package release

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// guestTimeout is for a machine that is emulated without KVM and shares two cores.
const guestTimeout = 40 * time.Minute

// progress matches what dpkg and the firmware draw on a terminal.
var progress = regexp.MustCompile(`\(Reading database \.\.\. \d+%|\x1b\S*`)

// debian returns the folder with the disk of a fresh Debian. It is kept under dist by
// what it is made from.
func debian(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile("testdata/root.sh")
	if err != nil {
		t.Fatal(err)
	}
	inputs := append(script, run(t, filepath.Join(root, "board/mirror"))...)
	dir, err := filepath.Abs(filepath.Join(root, "dist", fmt.Sprintf("debian-%.8x", sha256.Sum256(inputs))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	unfinished := dir + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "sh", "testdata/root.sh", unfinished)
	if err := os.Rename(unfinished, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// seed writes the archive that the guest unpacks: its script and both packages.
func seed(t *testing.T, dir string) string {
	t.Helper()
	run(t, "make", "--no-print-directory", "-C", root, "debs", "RELEASE="+filepath.Join(dir, "old"), "DEB_VERSION=0.0.1")
	run(t, "make", "--no-print-directory", "-C", root, "debs", "RELEASE="+filepath.Join(dir, "new"), "DEB_VERSION=0.0.2")
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{
		"old.deb":  filepath.Join(dir, "old/sealpost_0.0.1_amd64.deb"),
		"new.deb":  filepath.Join(dir, "new/sealpost_0.0.2_amd64.deb"),
		"guest.sh": "testdata/guest.sh",
	} {
		run(t, "cp", from, filepath.Join(files, name))
	}
	archive := filepath.Join(dir, "seed.tar")
	run(t, "tar", "-C", files, "-cf", archive, ".")
	return archive
}

// TestPackage_InstallsRelaysUpgradesAndPurges does what an administrator does, on a
// fresh Debian: guest.sh has the steps.
func TestPackage_InstallsRelaysUpgradesAndPurges(t *testing.T) {
	image := debian(t)
	dir := t.TempDir()
	archive := seed(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), guestTimeout)
	defer cancel()
	socket := strings.TrimPrefix(parts.StartSwtpmControl(t).Address(), "unix:")
	guest := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-display", "none", "-nodefaults", "-serial", "stdio", "-nic", "none", "-no-reboot", "-snapshot",
		"-kernel", filepath.Join(image, "vmlinuz"), "-initrd", filepath.Join(image, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0",
		"-drive", "file="+filepath.Join(image, "disk")+",format=raw,if=virtio",
		"-drive", "file="+archive+",format=raw,if=virtio", "-device", "virtio-rng-pci",
		"-chardev", "socket,id=tpm,path="+socket, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0")
	guest.Stderr = os.Stderr
	output, err := guest.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Start(); err != nil {
		t.Fatalf("starting QEMU: %v", err)
	}
	finished := false
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		line := strings.TrimSpace(progress.ReplaceAllString(lines.Text(), ""))
		t.Log(line)
		finished = finished || line == "== finished"
		if strings.HasPrefix(line, "FAILED: ") {
			t.Error(line)
		}
	}
	if err := guest.Wait(); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	if !finished {
		t.Error("the guest has not finished its steps")
	}
}
