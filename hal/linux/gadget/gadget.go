// Package gadget makes the box a USB serial device (CDC ACM, which needs no driver)
// for a computer that is connected by a USB cable.
//
// It knows configfs and USB descriptors. It must not know what uses the line.
package gadget

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Line is the serial device on the box.
const Line = "/dev/ttyGS0"

const configfs = "/sys/kernel/config"

// USB vendor and product ID of the Linux Foundation, which need no driver setup on a PC.
const (
	vendor  = "0x1d6b"
	product = "0x0104" // Multifunction Composite Gadget
)

// Start creates the serial device on a USB device controller, whose name is one of
// those in /sys/class/udc.
func Start(controller, serial string) error {
	if err := unix.Mount("configfs", configfs, "configfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mounting configfs on %s: %w", configfs, err)
	}
	return start(filepath.Join(configfs, "usb_gadget"), controller, serial)
}

// start describes the gadget in the folder gadgets, which configfs provides, and binds
// it to the controller.
func start(gadgets, controller, serial string) error {
	dir := filepath.Join(gadgets, "sealpost")
	const configuration, function = "configs/c.1", "functions/acm.usb0"
	for _, folder := range []string{"", "strings/0x409", configuration, configuration + "/strings/0x409", function} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return fmt.Errorf("making the USB serial line: %w", err)
		}
	}
	for _, a := range []struct{ name, value string }{
		{"idVendor", vendor},
		{"idProduct", product},
		{"strings/0x409/manufacturer", "Sealpost"},
		{"strings/0x409/product", "Sealpost console"},
		{"strings/0x409/serialnumber", serial},
		{configuration + "/strings/0x409/configuration", "Console"},
	} {
		if err := os.WriteFile(filepath.Join(dir, a.name), []byte(a.value), 0o644); err != nil {
			return fmt.Errorf("describing the USB serial line: %w", err)
		}
	}
	link := filepath.Join(dir, configuration, "acm.usb0")
	if err := os.Symlink(filepath.Join(dir, function), link); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making the USB serial line: %w", err)
	}
	udcFile := filepath.Join(dir, "UDC")
	if current, err := os.ReadFile(udcFile); err == nil && strings.TrimSpace(string(current)) == controller {
		return nil
	}
	if err := os.WriteFile(udcFile, []byte(controller), 0o644); err != nil {
		return fmt.Errorf("binding the USB serial line to %s: %w", controller, err)
	}
	return nil
}
