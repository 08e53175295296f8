// Package pi runs the image of a card in QEMU's emulated Raspberry Pi, with its serial
// line, a TPM on the I2C bus of the Pi 3, and a network card on USB.
//
// It knows the firmware's files, QEMU's boards and what these lack. It must not know
// what the box does.
package pi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sealpost/tests/rigs/card"
	"sealpost/tests/rigs/parts"
)

const (
	// cardSize is a size that QEMU accepts, in bytes: a power of two.
	cardSize = 1 << 30
	// serialNumber is what the firmware would write into the device tree.
	serialNumber = "10000000abcdef01"
	tpmAddress   = 0x2e
	startLimit   = 20 * time.Second
)

// Board is a board that QEMU emulates.
type Board struct {
	machine    string   // of QEMU
	memory     string   // as QEMU demands it for that machine
	deviceTree string   // the file that the firmware loads
	firstStage []string // what the ROM loads from partition 1
	firmware   []string // what must be in the selected partition
	filters    []string // of config.txt
	tpm        bool     // whether a TPM can be connected
	adapt      func(*tree)
}

// Boards are the emulated boards. The CM4 has the processor of the Pi 4, whose I2C
// interrupts QEMU does not connect.
var Boards = map[string]Board{
	"rpi4": {machine: "raspi4b", memory: "2G", deviceTree: "bcm2711-rpi-4-b.dtb",
		firmware: []string{"start4.elf", "fixup4.dat"}, filters: []string{"pi4"}, adapt: adaptBCM2711},
	"cm4": {machine: "raspi4b", memory: "2G", deviceTree: "bcm2711-rpi-cm4.dtb",
		firmware: []string{"start4.elf", "fixup4.dat"}, filters: []string{"pi4", "cm4"}, adapt: adaptBCM2711},
	"rpi3": {machine: "raspi3b", memory: "1G", deviceTree: "bcm2710-rpi-3-b.dtb", firstStage: []string{"bootcode.bin"},
		firmware: []string{"start.elf", "fixup.dat"}, filters: []string{"pi3"}, tpm: true, adapt: adaptBCM2837},
}

// HasTPM reports whether the emulated board can have a TPM.
func (b Board) HasTPM() bool { return b.tpm }

// Flash writes an image to a new card.
func Flash(image, path string) error {
	from, err := os.Open(image)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Truncate(cardSize), to.Close())
}

// Config configures a machine.
type Config struct {
	QEMU  string // the program
	Board Board
	Card  string // the file, as Flash writes it
	// Tryboot makes the firmware select the slot to try.
	Tryboot bool
	// TPM must have a control channel and run; nil means no TPM.
	TPM *parts.Swtpm
	// Network is the Unix socket of a network that speaks QEMU's stream protocol.
	Network, MAC string
}

// Pi is a board that was powered on.
type Pi struct {
	Selection Selection
	dir       string
	program   *exec.Cmd
	output    strings.Builder // of QEMU; read it only after ended is closed
	ended     chan struct{}   // closed when QEMU has ended
}

// Start powers a board on, which starts what its firmware selects.
func Start(config Config) (*Pi, error) {
	c, err := card.Open(config.Card)
	if err != nil {
		return nil, err
	}
	selected, err := Select(c, config.Board, config.Tryboot)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pi")
	if err != nil {
		return nil, err
	}
	p := &Pi{Selection: selected, dir: dir, ended: make(chan struct{})}
	if err := p.load(c, config.Board); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.program = exec.Command(config.QEMU, p.arguments(config)...)
	p.program.Stdout, p.program.Stderr = &p.output, &p.output
	p.program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.program.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting QEMU: %w", err), os.RemoveAll(dir))
	}
	go func() {
		_ = p.program.Wait()
		close(p.ended)
	}()
	return p, nil
}

// load copies the selected files to where QEMU loads them from, as the firmware copies
// them to memory.
func (p *Pi) load(c *card.Card, b Board) error {
	s := p.Selection
	for _, name := range append([]string{s.Kernel, s.DeviceTree}, s.Overlays...) {
		content, err := c.Read(s.Partition, name)
		if err == nil {
			err = os.WriteFile(p.path(filepath.Base(name)), content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	d := &tree{file: p.path("devicetree")}
	merge := []string{"-i", p.path(filepath.Base(s.DeviceTree)), "-o", d.file}
	for _, name := range s.Overlays {
		merge = append(merge, p.path(filepath.Base(name)))
	}
	if len(s.Overlays) == 0 {
		d.run("cp", merge[1], d.file)
	} else {
		d.run("fdtoverlay", merge...)
	}
	return d.adapt(b)
}

func (p *Pi) arguments(config Config) []string {
	arguments := []string{
		// With a thread for each processor, they and the USB controller's timer wait for
		// QEMU's lock most of the time: a TPM command takes seconds instead of milliseconds.
		"-accel", "tcg,thread=single",
		"-M", config.Board.machine, "-m", config.Board.memory, "-display", "none", "-no-reboot",
		"-kernel", p.path(filepath.Base(p.Selection.Kernel)), "-dtb", p.path("devicetree"), "-append", p.Selection.CommandLine,
		"-drive", "if=sd,format=raw,file=" + config.Card,
		"-chardev", "socket,id=console,server=on,wait=off,path=" + p.path("console"), "-serial", "chardev:console",
	}
	if config.TPM != nil {
		// The bus of the pins 3 and 5 of the header.
		arguments = append(arguments, "-chardev", "socket,id=tpm,path="+strings.TrimPrefix(config.TPM.Address(), "unix:"),
			"-tpmdev", "emulator,id=tpm0,chardev=tpm",
			"-device", fmt.Sprintf("tpm-tis-i2c,tpmdev=tpm0,address=%#x,bus=i2c-bus.1", tpmAddress))
	}
	if config.Network != "" {
		arguments = append(arguments, "-netdev", "stream,id=lan,server=off,addr.type=unix,addr.path="+config.Network,
			"-device", "usb-net,netdev=lan,mac="+config.MAC)
	}
	return arguments
}

// Console connects a cable to the serial line.
func (p *Pi) Console() (net.Conn, error) {
	for deadline := time.Now().Add(startLimit); ; {
		conn, err := net.Dial("unix", p.path("console"))
		if err == nil {
			return conn, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("QEMU ended at once: %s", p.output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("plugging in the cable: %w", err)
		}
	}
}

// Close cuts the power.
func (p *Pi) Close() error {
	_ = p.program.Process.Kill()
	<-p.ended
	return os.RemoveAll(p.dir)
}

func (p *Pi) path(name string) string { return filepath.Join(p.dir, name) }
