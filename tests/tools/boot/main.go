// Command boot starts the appliance in QEMU with the serial console in this
// terminal, as if its cable were plugged in here.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"

	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
)

const (
	leave    = 0x1d // Ctrl-]
	smtp     = 25
	hostSMTP = 2525
	// stateSize is that of a new box's state device, in bytes.
	stateSize = 1 << 30
)

func main() {
	image := flag.String("image", "dist/qemu", "the `folder` with vmlinuz and initramfs")
	dir := flag.String("dir", ".run/box", "the `folder` with the box's state and TPM, made if need be")
	flag.Parse()
	if err := boot(*image, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "sealpost boot:", err)
		os.Exit(1)
	}
}

func boot(image, dir string) (err error) {
	fmt.Printf("Ctrl-] pulls the plug. The box's port %d is 127.0.0.1:%d here; delete %s to have it new from the factory.\n", smtp, hostSMTP, dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	state := filepath.Join(dir, "state")
	tpm, err := parts.NewSwtpm(filepath.Join(dir, "tpm"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	if err := makeState(state); err != nil {
		return err
	}
	box, err := machine.Start(machine.Config{Image: image, StateFile: state, TPM: tpm,
		Network: machine.Network{Forward: map[int]int{smtp: hostSMTP}, Outside: true}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	cable, err := box.Console()
	if err != nil {
		return err
	}
	defer cable.Close()
	return attach(cable)
}

// makeState makes the state device, unless it is there.
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

// attach joins this terminal to the cable, until its user leaves or the box
// switches itself off.
func attach(cable net.Conn) error {
	if input := int(os.Stdin.Fd()); term.IsTerminal(input) {
		old, err := term.MakeRaw(input)
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer func() { _ = term.Restore(input, old) }()
	}
	// A terminal that is closed must not leave the machine running.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	left := make(chan error, 2)
	go func() {
		_, err := io.Copy(os.Stdout, cable)
		left <- err
	}()
	go func() { left <- forward(cable, os.Stdin) }()
	defer fmt.Print("\r\n")
	select {
	case err := <-left:
		return err
	case <-signals:
		return nil
	}
}

// forward copies what is typed, up to the key that leaves.
func forward(cable io.Writer, keys io.Reader) error {
	for key := make([]byte, 1); ; {
		if _, err := io.ReadFull(keys, key); err != nil {
			return ignoreEnd(err)
		}
		if key[0] == leave {
			return nil
		}
		if _, err := cable.Write(key); err != nil {
			return err
		}
	}
}

// ignoreEnd takes the end of standard input for leaving.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
