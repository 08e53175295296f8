//go:build release

package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestForeignPackages_InstallOnTheirDebian installs the packages for the other
// architectures on a Debian of theirs, whose programs QEMU runs. foreign.sh registers
// QEMU with the kernel for its own user namespace, so that this machine is not changed.
func TestForeignPackages_InstallOnTheirDebian(t *testing.T) {
	dir := t.TempDir()
	run(t, "make", "--no-print-directory", "-C", root, "debs", "RELEASE="+dir, "DEB_VERSION=0.0.1")
	for arch, platform := range map[string]string{"arm64": "linux/arm64", "armhf": "linux/arm"} {
		t.Run(arch, func(t *testing.T) {
			command := exec.Command("sh", "testdata/foreign.sh", arch, filepath.Join(dir, "sealpost_0.0.1_"+arch+".deb"), t.TempDir())
			all := []syscall.SysProcIDMap{{Size: 1 << 16}}
			command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true}
			command.Env = append(os.Environ(), "LC_ALL=C")
			output, err := command.CombinedOutput()
			t.Logf("%s", output)
			if err != nil || !strings.Contains(string(output), platform) || !strings.Contains(string(output), "\n== finished\n") {
				t.Errorf("%s: %v", arch, err)
			}
		})
	}
}
