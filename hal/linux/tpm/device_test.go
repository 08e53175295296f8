//go:build !quick

package tpm_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/tests/rigs/parts"
)

// terminal opens a pseudo-terminal in raw mode: a character device, like a kernel
// TPM, whose other end is master.
func terminal(t *testing.T) (path string, master *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path = fmt.Sprintf("/dev/pts/%d", number)
	// It stays open, so that the settings are kept.
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	settings.Iflag, settings.Oflag, settings.Lflag = 0, 0, 0
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, settings); err != nil {
		t.Fatal(err)
	}
	return path, master
}

func TestTPM_SignsThroughACharacterDevice(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	path, master := terminal(t)
	chipEnd, err := net.Dial("unix", strings.TrimPrefix(swtpm.Address(), "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chipEnd.Close() })
	go func() {
		for {
			command, err := readMessage(master)
			if err != nil {
				return
			}
			if _, err := chipEnd.Write(command); err != nil {
				return
			}
			response, err := readMessage(chipEnd)
			if err != nil {
				return
			}
			// In two pieces: a driver may return a part of a response.
			for _, piece := range [][]byte{response[:7], response[7:]} {
				if _, err := master.Write(piece); err != nil {
					return
				}
			}
		}
	}()
	chip := open(t, path, tpm.WithTimeout(10*time.Second))
	_, signer := importKey(t, chip, hal.RSA2048)
	for range 3 {
		if err := sign(signer); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTPM_TimesOutOnASilentDevice(t *testing.T) {
	path, _ := terminal(t)
	chip := open(t, path, tpm.WithTimeout(200*time.Millisecond))
	start := time.Now()
	_, err := chip.Capabilities(t.Context())
	wantFault(t, err, hal.TPMFailed)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the call took %s", took)
	}
}

func TestTPM_LeavesOrdinaryFilesUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, path).Capabilities(t.Context())
	wantFault(t, err, hal.TPMAbsent)
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("the file is now %q, error %v", got, err)
	}
}
