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
	"strings"
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
	check := flag.Bool("check", false, "only check that the port of the box is free")
	flag.Parse()
	err := checkPort()
	if err == nil && !*check {
		err = boot(*image, *dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

func boot(image, dir string) (err error) {
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
	isNew, err := makeState(state)
	if err != nil {
		return err
	}
	site, err := practice.Start(filepath.Join(dir, "practice"), mac, smtpAddress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	printInstructions(shownDir, isNew)
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
	return (&terminal{line: line, box: box, site: site, help: func() { printInstructions(shownDir, isNew) }}).run()
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
func makeState(path string) (isNew bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(file.Truncate(stateSize), file.Close())
}

// printInstructions prints the answers to the console's questions, and the keys.
func printInstructions(dir string, isNew bool) {
	const crlf = "\r\n" // the terminal may be raw
	text := fmt.Sprintf(`%s  The box starts in QEMU. This terminal is its serial console. In about 15 seconds
it asks you to press Enter.
`, time.Now().Format(time.TimeOnly))
	if isNew {
		text += fmt.Sprintf(`
A practice tenant runs beside it. Answer the console's questions with Enter, and
  Accepted domains   %s
  Authority          Enter, then Ctrl-] a   pastes the tenant's authority
  PFX in base64      Ctrl-] p               pastes the certificate and its key
  Password           %s
  Alert address      alerts@%s
`, practice.Domain, practice.Password, practice.Domain)
	} else {
		text += `
A practice tenant runs beside it. The box was started here before: if it is set up, the
console shows its menu.
`
	}
	text += fmt.Sprintf(`
Ctrl-] is Ctrl and the key ], together; on most keyboards without that key it is Ctrl-5.
  Ctrl-] s   plugs in the practice stick, or pulls it out: it sets the box up too
  Ctrl-] q   switches the box off
  Ctrl-] ?   prints this again

The box's port 25 is %s here. To send it a message from another terminal:
  printf 'Subject: hello\n\nHello.\n' | curl -sS smtp://%s --mail-from printer@%s --mail-rcpt you@fabrikam.example -T -
To start with a new box, delete %s.
`, smtpAddress, smtpAddress, practice.Domain, dir)
	fmt.Print(strings.ReplaceAll(text, "\n", crlf))
}
