// Command helper replaces the hardware of a real board in QEMU: it forwards TPM commands
// to the software TPM, reports the lamp, bridges the USB cable, injects faults and
// copies the kernel log.
//
// It knows the kernel's TPM proxy, QEMU's virtio serial ports and the lamp's file. It
// must not know what the box does with them. It must stay small, because it is unpacked
// at every start.
package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	go copyLog()
	go mirrorLamp()
	go injectFaults()
	go bridgeCable()
	logError(bridgeTPM())
	os.Exit(1)
}

// portLimit limits the wait until the kernel has found the serial ports.
const portLimit = 10 * time.Second

// findPort returns the device of the virtio serial port that QEMU calls name.
func findPort(name string) (string, error) {
	for deadline := time.Now().Add(portLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return "", err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			device := "/dev/" + filepath.Base(filepath.Dir(file))
			if _, missing := os.Stat(device); err == nil && missing == nil && strings.TrimSpace(string(text)) == name {
				return device, nil
			}
		}
	}
	return "", errors.New("QEMU has no serial port named " + name)
}
