// Command helper stands for what a real board does in hardware: it carries the
// TPM's commands to the software TPM beside QEMU, shows the lamp to the test
// that watches it, is the far end of the USB cable, and passes on the kernel log.
//
// It knows the kernel's TPM proxy, the virtio serial ports that QEMU gives the
// board, and the lamp's file. It must not know what the box does with them, and
// it stays small: it is unpacked at every start.
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
	go causeFaults()
	go carryCable()
	note(bridgeTPM())
	os.Exit(1)
}

// portLimit is how long the kernel may take to find the serial ports.
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
