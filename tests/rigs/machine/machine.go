// Package machine is the appliance in QEMU, as somebody sees it who stands in
// front of it: the power plug, the serial cable, the lamp, the button, the
// network cable, USB sticks, and the kernel's log.
//
// It knows QEMU and how the board in board/qemu is wired. It must not know what
// the box does.
package machine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sealpost/tests/rigs/nbd"
	"sealpost/tests/rigs/parts"
)

const (
	// timeout limits whatever QEMU and the box are waited for.
	timeout = time.Minute
	// pollInterval is the time between two checks of a condition.
	pollInterval = 20 * time.Millisecond
)

// Config is what a machine is made of.
type Config struct {
	Image string // the folder with vmlinuz and initramfs
	// The state device is a file or, if Flash is set, a disk that can fail;
	// without either the box has none.
	StateFile string
	Flash     *nbd.Server
	// TPM runs before the machine starts. The machine stops and starts it with
	// the power and at every reset, until the machine is closed; nil means that
	// the box has none.
	TPM     *parts.Swtpm
	Kernel  string // more of the kernel's command line
	Memory  int    // MiB; 0 means 128
	RTC     string // what the clock of the board says at its start, as in QEMU's -rtc base=; empty means the truth
	MAC     string // stands for the serial number too; empty means 52:54:00:12:34:56
	Network Network
}

// Network is what the network cable is plugged into: QEMU's own small network,
// which leads nowhere and names no gateway, unless a tap device is named.
type Network struct {
	// Forward gives TCP ports of the box a port of 127.0.0.1; 0 means any that
	// is free, see [Machine.Address].
	Forward map[int]int
	// Outside lets the box reach the host, at 10.0.2.2, and all that the host
	// reaches, name servers included.
	Outside bool
	// Socket is the Unix socket of a network that speaks QEMU's stream protocol,
	// in place of QEMU's own.
	Socket string
	// Tap is the tap device to use, and Namespace the network namespace it is
	// in; empty means the caller's.
	Tap, Namespace string
}

// Machine is a machine that was powered on. Its power is switched by one
// goroutine; all else is safe for concurrent use.
type Machine struct {
	config Config
	dir    string // of sockets and logs

	mu     sync.Mutex
	power  *power
	starts []start
	// failure is what went wrong at a reset.
	failure error
}

// power is the machine from one switching on to the next.
type power struct {
	program *exec.Cmd
	output  strings.Builder // of QEMU, to be read when it has ended
	ended   chan struct{}   // closed when QEMU has ended
	control *control
}

// start is how long the log was when the machine started.
type start int

// Start makes a machine and powers it on.
func Start(config Config) (*Machine, error) {
	if config.Memory == 0 {
		config.Memory = 128
	}
	if config.MAC == "" {
		config.MAC = "52:54:00:12:34:56"
	}
	forward := map[int]int{}
	for port, host := range config.Network.Forward {
		if host == 0 {
			var err error
			if host, err = parts.FreePort(); err != nil {
				return nil, err
			}
		}
		forward[port] = host
	}
	config.Network.Forward = forward
	dir, err := os.MkdirTemp("", "machine")
	if err != nil {
		return nil, fmt.Errorf("making the machine's folder: %w", err)
	}
	m := &Machine{config: config, dir: dir, power: &power{}}
	if err := m.run(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Address is where a port of the box can be reached, if it is forwarded.
func (m *Machine) Address(port int) string {
	return fmt.Sprintf("127.0.0.1:%d", m.config.Network.Forward[port])
}

// run starts QEMU, on a TPM that runs.
func (m *Machine) run() error {
	if _, err := exec.LookPath(qemu); err != nil {
		return fmt.Errorf("the program %s is missing: install the Debian package qemu-system-arm: %w", qemu, err)
	}
	command := append([]string{qemu}, m.arguments()...)
	if namespace := m.config.Network.Namespace; namespace != "" {
		command = append([]string{"ip", "netns", "exec", namespace}, command...)
	}
	m.noteStart()
	p := &power{program: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.program.Stdout, p.program.Stderr = &p.output, &p.output
	// A Ctrl-C at the terminal is for whoever runs the machine, not for it.
	p.program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.program.Start(); err != nil {
		return fmt.Errorf("starting QEMU: %w", err)
	}
	go func() {
		_ = p.program.Wait()
		close(p.ended)
	}()
	var err error
	if p.control, err = dialControl(m.path("control"), p.ended, m.event); err != nil {
		p.cut()
		return fmt.Errorf("%w\n%s", err, p.output.String())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.power = p
	return nil
}

// Cut pulls the power plug: the processor stops, the TPM loses its memory, and
// a disk that can fail forgets what was not flushed.
func (m *Machine) Cut() error {
	m.session().cut()
	if m.config.Flash != nil {
		m.config.Flash.Cut()
	}
	if m.config.TPM == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.failure, m.config.TPM.Stop())
}

// SetKernel gives the kernel other arguments from the next PowerOn on.
func (m *Machine) SetKernel(arguments string) { m.config.Kernel = arguments }

// PowerOn puts the plug back.
func (m *Machine) PowerOn() error {
	if m.config.TPM != nil {
		if err := m.config.TPM.Start(); err != nil {
			return err
		}
	}
	return m.run()
}

// cut ends QEMU at once, if it runs.
func (p *power) cut() {
	if p.program == nil {
		return
	}
	_ = p.program.Process.Kill()
	<-p.ended
	if p.control != nil {
		p.control.close()
	}
}

func (m *Machine) session() *power {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power
}

// Close ends the machine and removes its folder. The disk and the TPM are the
// caller's to close.
func (m *Machine) Close() error {
	m.session().cut()
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.failure, os.RemoveAll(m.dir))
}

// event is called for what QEMU reports by itself.
func (m *Machine) event(name string) {
	if name != "RESET" {
		return
	}
	m.noteStart()
	if m.config.TPM == nil {
		return
	}
	// The TPM is on the board's reset line. This also drops the response to a
	// command that the reset cut short.
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.config.TPM.Stop(), m.config.TPM.Start()); err != nil {
		m.failure = fmt.Errorf("resetting the TPM: %w", err)
	}
}

func (m *Machine) noteStart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts = append(m.starts, start(len(m.read(kernelLog))))
}

// Starts tells how often the box has started: by power, by itself, or by its
// watchdog.
func (m *Machine) Starts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.starts)
}

// AwaitStart waits until the box has started n times.
func (m *Machine) AwaitStart(n int) error {
	return m.await(fmt.Sprintf("the box did not start for the %d. time", n), func() bool { return m.Starts() >= n })
}

// Console plugs the technician's cable into the serial console. There is one
// socket: the cable must be closed before the next one is plugged in.
func (m *Machine) Console() (net.Conn, error) { return m.cable("console") }

// USBCable plugs a PC's USB cable into the box, as Console does the serial one.
func (m *Machine) USBCable() (net.Conn, error) { return m.cable("cable") }

func (m *Machine) cable(socket string) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", m.path(socket), timeout)
	if err != nil {
		return nil, fmt.Errorf("plugging in the cable: %w", err)
	}
	return conn, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

// read gives a file of the machine's folder, empty if it is not there yet.
func (m *Machine) read(name string) string {
	text, _ := os.ReadFile(m.path(name))
	return string(text)
}

// await waits until a condition holds, and gives up when the machine has ended.
func (m *Machine) await(failure string, holds func() bool) error {
	deadline := time.After(timeout)
	p := m.session()
	for {
		// Looked at first, so that the last words are not missed.
		ended := false
		select {
		case <-p.ended:
			ended = true
		default:
		}
		if holds() {
			return nil
		}
		if ended {
			return fmt.Errorf("%s before the machine ended:\n%s\n%s", failure, p.output.String(), m.KernelLog())
		}
		select {
		case <-deadline:
			return fmt.Errorf("%s within %s:\n%s", failure, timeout, m.KernelLog())
		case <-time.After(pollInterval):
		}
	}
}
