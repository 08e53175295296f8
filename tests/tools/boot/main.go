// Command boot starts the appliance in QEMU with its serial console in this terminal,
// and a practice tenant that accepts its mail.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/practice"
)

const (
	// smtpAddress is forwarded to the box's port 25.
	smtpAddress = "127.0.0.1:2525"
	mac         = "52:54:00:12:34:56"
	// stateSize is the size of a new state device in bytes.
	stateSize = 128 << 20
)

func main() {
	image := flag.String("image", "dist/qemu", "the `folder` with vmlinuz and initramfs")
	dir := flag.String("dir", ".run/box", "the `folder` for the box's state and TPM, and the practice tenant's files")
	flag.Parse()
	if err := boot(*image, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

func boot(image, dir string) (err error) {
	if err := checkPort(); err != nil {
		return err
	}
	shownDir := dir // as the user wrote it
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	tpm, err := parts.NewSwtpm(filepath.Join(dir, "tpm"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	state := filepath.Join(dir, "state")
	if err := makeState(state); err != nil {
		return err
	}
	site, err := practice.Start(filepath.Join(dir, "practice"), mac, smtpAddress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	printInstructions(shownDir)
	box, err := machine.Start(machine.Config{Image: image, StateFile: state, TPM: tpm, MAC: mac, Network: machine.Network{Socket: site.Socket()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	line, err := box.Console()
	if err != nil {
		return err
	}
	defer line.Close()
	return (&terminal{line: line, box: box, site: site}).run()
}

// checkPort returns an error if another program, such as make run, uses smtpAddress.
func checkPort() error {
	listener, err := net.Listen("tcp", smtpAddress)
	if err != nil {
		return fmt.Errorf("%s is in use; end the other make boot or make run first: %w", smtpAddress, err)
	}
	return listener.Close()
}

// makeState creates the state device, unless it exists.
func makeState(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(stateSize), file.Close())
}

// printInstructions prints the answers to the console's questions.
func printInstructions(dir string) {
	fmt.Printf(`%s  The box starts in QEMU. This terminal is its serial console.

A practice tenant runs beside it. Answer the console's questions with Enter, and
  Accepted domains   %s
  Authority          Enter, then Ctrl-] a   pastes the tenant's authority
  PFX in base64      Ctrl-] p               pastes the certificate and its key
  Password           %s
  Alert address      alerts@%s

  Ctrl-] s   plugs in the practice stick, or pulls it out: it sets the box up too
  Ctrl-] q   switches the box off

The box's port 25 is %s here. To start with a new box, delete %s.
`, time.Now().Format(time.TimeOnly), practice.Domain, practice.Password, practice.Domain, smtpAddress, dir)
}
