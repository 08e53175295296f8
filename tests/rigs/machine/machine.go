// Package machine runs the appliance in QEMU and gives tests its physical
// controls: power plug, serial cable, lamp, button, network cable, USB sticks, and
// the kernel's log.
//
// It knows QEMU and the wiring of board/qemu. It must not know what the box does.
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
	// WaitLimit limits each wait for QEMU and the box. It is long, because on a shared
	// host an emulated processor may be several times slower than usual.
	WaitLimit = 3 * time.Minute
	// pollInterval is the time between two checks of a condition.
	pollInterval = 20 * time.Millisecond
)

// Config configures a machine.
type Config struct {
	Image string // the folder with vmlinuz and initramfs
	// The state device is a file or, if Flash is set, a disk that can fail;
	// with neither, the box has none.
	StateFile string
	Flash     *nbd.Server
	// TPM must be running when the machine starts. The machine stops and starts it
	// with the power and at every reset until Close; nil means no TPM.
	TPM     *parts.Swtpm
	Kernel  string // appended to the kernel's command line
	Memory  int    // MiB; 0 means 128
	RTC     string // initial time of the board's clock, as in QEMU's -rtc base=; empty means the current time
	MAC     string // also the serial number; empty means 52:54:00:12:34:56
	Network Network
}

// Network configures the network at the other end of the cable: by default QEMU's
// own, which is isolated and has no gateway.
type Network struct {
	// Forward maps TCP ports of the box to ports of 127.0.0.1; 0 means any free
	// port, see [Machine.Address].
	Forward map[int]int
	// Outside lets the box reach the host at 10.0.2.2, and the host's networks,
	// including name servers.
	Outside bool
	// Socket is the Unix socket of a network that speaks QEMU's stream protocol,
	// used instead of QEMU's own.
	Socket string
	// Tap is the tap device to use, and Namespace the network namespace it is
	// in; empty means the caller's.
	Tap, Namespace string
}

// Machine is a machine that was powered on. Only one goroutine may switch the
// power; all other methods are safe for concurrent use.
type Machine struct {
	config Config
	dir    string // for sockets and logs

	mu     sync.Mutex
	power  *power
	starts []start
	// failure is the error of a reset.
	failure error
}

// power is the machine between two power-ons.
type power struct {
	program *exec.Cmd
	output  strings.Builder // of QEMU; read it only after ended is closed
	ended   chan struct{}   // closed when QEMU has ended
	control *control
	// faults stays connected, because QEMU discards what the box has not read when
	// the connection is closed.
	faults net.Conn
}

// start is the length of the log when the machine started.
type start int

// Start creates a machine and powers it on.
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

// Address returns the address of a forwarded port of the box.
func (m *Machine) Address(port int) string {
	return fmt.Sprintf("127.0.0.1:%d", m.config.Network.Forward[port])
}

// run starts QEMU. The TPM must be running.
func (m *Machine) run() error {
	if _, err := exec.LookPath(qemu); err != nil {
		return fmt.Errorf("the program %s is missing: install the Debian package qemu-system-arm: %w", qemu, err)
	}
	command := append([]string{qemu}, m.arguments()...)
	if namespace := m.config.Network.Namespace; namespace != "" {
		command = append([]string{"ip", "netns", "exec", namespace}, command...)
	}
	m.recordStart()
	p := &power{program: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.program.Stdout, p.program.Stderr = &p.output, &p.output
	// Its own process group, so that Ctrl-C at the terminal does not reach it.
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
	if p.faults, err = net.Dial("unix", m.path("faults")); err != nil {
		p.cut()
		return fmt.Errorf("connecting to the box's helper: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.power = p
	return nil
}

// Cut pulls the power plug: the processor stops, the TPM loses its volatile
// memory, and the simulated flash loses unflushed writes.
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

// SetKernel sets the kernel arguments for the next PowerOn.
func (m *Machine) SetKernel(arguments string) { m.config.Kernel = arguments }

// PowerOn powers the machine on again.
func (m *Machine) PowerOn() error {
	if m.config.TPM != nil {
		if err := m.config.TPM.Start(); err != nil {
			return err
		}
	}
	return m.run()
}

// cut kills QEMU, if it runs.
func (p *power) cut() {
	if p.program == nil {
		return
	}
	_ = p.program.Process.Kill()
	<-p.ended
	if p.faults != nil {
		_ = p.faults.Close()
	}
	if p.control != nil {
		p.control.close()
	}
}

func (m *Machine) session() *power {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power
}

// Close ends the machine and removes its folder. The caller closes the disk and
// the TPM.
func (m *Machine) Close() error {
	m.session().cut()
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.failure, os.RemoveAll(m.dir))
}

// event handles a QMP event.
func (m *Machine) event(name string) {
	if name != "RESET" {
		return
	}
	m.recordStart()
	if m.config.TPM == nil {
		return
	}
	// The TPM is on the board's reset line. This also drops the response to an
	// interrupted command.
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.config.TPM.Stop(), m.config.TPM.Start()); err != nil {
		m.failure = fmt.Errorf("resetting the TPM: %w", err)
	}
}

func (m *Machine) recordStart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts = append(m.starts, start(len(m.read(kernelLog))))
}

// Starts returns how often the box has started: by power, reboot or watchdog.
func (m *Machine) Starts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.starts)
}

// AwaitStart waits until the box has started n times.
func (m *Machine) AwaitStart(n int) error {
	return m.await(fmt.Sprintf("the box did not start for the %d. time", n), func() bool { return m.Starts() >= n })
}

// Console connects a cable to the serial console. There is one socket: close the
// connection before opening another.
func (m *Machine) Console() (net.Conn, error) { return m.cable("console") }

// USBCable connects a PC's USB cable to the box, like Console.
func (m *Machine) USBCable() (net.Conn, error) { return m.cable("cable") }

func (m *Machine) cable(socket string) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", m.path(socket), WaitLimit)
	if err != nil {
		return nil, fmt.Errorf("plugging in the cable: %w", err)
	}
	return conn, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

// read returns a file of the machine's folder, or "" if it does not exist yet.
func (m *Machine) read(name string) string {
	text, _ := os.ReadFile(m.path(name))
	return string(text)
}

// await waits until a condition holds, and fails when the machine has ended.
func (m *Machine) await(failure string, holds func() bool) error {
	deadline := time.After(WaitLimit)
	p := m.session()
	for {
		// Checked first, so that the last output is not missed.
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
			return fmt.Errorf("%s within %s:\n%s", failure, WaitLimit, m.KernelLog())
		case <-time.After(pollInterval):
		}
	}
}
