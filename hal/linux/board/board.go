// Package board describes the hardware of a board: the device of the state, the
// serial lines of the console, the lamp and so on.
//
// It reads board.toml, which is part of the image, and the device tree. It must not
// know what the parts are used for.
package board

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Paths of the files in the image.
const (
	FactsPath   = "/etc/sealpost/board.toml"
	ModulesPath = "/etc/sealpost/modules"
	// LaterPath lists the modules that are not needed for mail.
	LaterPath = "/etc/sealpost/modules.later"
)

// Facts are the contents of board.toml.
type Facts struct {
	Name  string `toml:"name"`
	Model string `toml:"model"` // instead of the device tree's
	State string `toml:"state"` // the state device
	// Partition is the PARTUUID of the state, to which State becomes a link; empty if State
	// is a device.
	Partition string `toml:"partition"`
	TPM       string `toml:"tpm"`
	// Lines are the serial lines for the technician, 115200 baud, 8N1.
	Lines []string `toml:"lines"`
	// LED is a pattern for the brightness file of the state lamp.
	LED string `toml:"led"`
	// Button is a pattern for the input devices that may have the reset button,
	// Key its code (linux/input-event-codes.h).
	Button string `toml:"button"`
	Key    uint16 `toml:"key"`
	// Watchdog is the device of the watchdog timer.
	Watchdog string `toml:"watchdog"`
	// UDC is the USB device controller for the serial gadget; empty for none.
	UDC string `toml:"udc"`
	// Helper is the command line of a program of the board's own; empty for none.
	Helper []string `toml:"helper"`
}

// Load reads a board's facts.
func Load(path string) (Facts, error) {
	file, err := os.Open(path)
	if err != nil {
		return Facts{}, fmt.Errorf("reading the board's facts: %w", err)
	}
	defer file.Close()
	var facts Facts
	decoder := toml.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&facts); err != nil {
		return Facts{}, fmt.Errorf("reading the board's facts in %s: %w", path, err)
	}
	if facts.State == "" || facts.TPM == "" {
		return Facts{}, fmt.Errorf("%s does not name state and tpm", path)
	}
	return facts, nil
}

// Model returns the board's model from the device tree; empty if unknown.
func Model() string { return treeText("/proc/device-tree/model") }

// Serial returns the board's serial number from the device tree or, if it has none,
// the hardware address of its first network card.
func Serial() (string, error) {
	if number := treeText("/proc/device-tree/serial-number"); number != "" {
		return number, nil
	}
	cards, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("looking for a serial number: %w", err)
	}
	for _, card := range cards {
		if len(card.HardwareAddr) == 6 {
			return strings.ReplaceAll(card.HardwareAddr.String(), ":", ""), nil
		}
	}
	return "", errors.New("this board has neither a serial number nor a network card")
}

// treeText returns a string property of the device tree, without its zero byte.
func treeText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\x00\n")
}
