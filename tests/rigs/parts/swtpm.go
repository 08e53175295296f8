// Package parts starts the real programs Sealpost is tested against.
//
// It knows how to start, stop, restart and reset each program, and where it
// listens. It must not know what Sealpost does with it.
package parts

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	swtpmStartLimit = 10 * time.Second
	swtpmStopLimit  = 5 * time.Second
)

// Swtpm is a software TPM 2.0 with a state of its own, run as a separate
// process. It serves one connection at a time and has no resource manager.
type Swtpm struct {
	dir     string
	network string // "unix" or "tcp"
	target  string // socket path or host:port
	channel string // of swtpm: "--server" for commands, "--ctrl" for a QEMU, which opens the other one
	cmd     *exec.Cmd
	exited  chan error
}

// NewSwtpm starts a software TPM that keeps its state in dir and listens on a
// unix socket. It creates dir if necessary; the caller closes the TPM, and dir stays.
func NewSwtpm(dir string) (*Swtpm, error) {
	return newSwtpm(dir, "unix", "--server")
}

// NewSwtpmControl is NewSwtpm for a QEMU, which sends commands through swtpm's control
// channel.
func NewSwtpmControl(dir string) (*Swtpm, error) {
	return newSwtpm(dir, "unix", "--ctrl")
}

// NewSwtpmTCP is NewSwtpm on a free TCP port of 127.0.0.1.
func NewSwtpmTCP(dir string) (*Swtpm, error) {
	return newSwtpm(dir, "tcp", "--server")
}

// StartSwtpm starts a new software TPM on a unix socket and stops it when the test
// ends.
func StartSwtpm(t testing.TB) *Swtpm {
	t.Helper()
	return startSwtpm(t, NewSwtpm)
}

// StartSwtpmTCP is StartSwtpm on a free TCP port of 127.0.0.1.
func StartSwtpmTCP(t testing.TB) *Swtpm {
	t.Helper()
	return startSwtpm(t, NewSwtpmTCP)
}

// StartSwtpmControl is StartSwtpm for a QEMU, see [NewSwtpmControl].
func StartSwtpmControl(t testing.TB) *Swtpm {
	t.Helper()
	return startSwtpm(t, NewSwtpmControl)
}

func startSwtpm(t testing.TB, start func(dir string) (*Swtpm, error)) *Swtpm {
	t.Helper()
	// t.TempDir contains the test's name, which is too long for a socket path.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatalf("making the software TPM's folder: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newSwtpm(dir, network, channel string) (*Swtpm, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the software TPM's folder: %w", err)
	}
	s := &Swtpm{dir: dir, network: network, channel: channel}
	switch network {
	case "unix":
		socketDir, err := os.MkdirTemp("", "swtpm")
		if err != nil {
			return nil, fmt.Errorf("making the software TPM's socket folder: %w", err)
		}
		s.target = filepath.Join(socketDir, "s")
	case "tcp":
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port for the software TPM: %w", err)
		}
		s.target = free.Addr().String()
		_ = free.Close()
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Address returns the TPM's address as in the keys.tpm setting.
func (s *Swtpm) Address() string { return s.network + ":" + s.target }

// Start starts the program with the state that Stop left. The TPM begins with
// Startup(CLEAR), as after a power cut.
func (s *Swtpm) Start() error {
	program, err := exec.LookPath("swtpm")
	if err != nil {
		return fmt.Errorf("the program swtpm is missing: install the Debian package swtpm: %w", err)
	}
	s.cmd = exec.Command(program, "socket", "--tpm2",
		"--tpmstate", "dir="+s.dir,
		s.channel, s.channelAddress(),
		"--flags", "startup-clear,not-need-init")
	// Its own process group, so that Ctrl-C at the terminal does not reach it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output := &strings.Builder{}
	s.cmd.Stdout, s.cmd.Stderr = output, output
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("starting swtpm: %w", err)
	}
	s.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) { exited <- cmd.Wait() }(s.cmd, s.exited)
	return s.awaitReady(output)
}

func (s *Swtpm) channelAddress() string {
	if s.network == "unix" {
		return "type=unixio,path=" + s.target
	}
	host, port, _ := net.SplitHostPort(s.target)
	return "type=tcp,port=" + port + ",bindaddr=" + host
}

func (s *Swtpm) awaitReady(output *strings.Builder) error {
	deadline := time.Now().Add(swtpmStartLimit)
	for {
		conn, err := net.Dial(s.network, s.target)
		if err == nil {
			return conn.Close()
		}
		select {
		case exit := <-s.exited:
			s.cmd = nil
			return fmt.Errorf("swtpm ended immediately (%v): %s", exit, strings.TrimSpace(output.String()))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("swtpm does not listen at %s after %s: %w", s.Address(), swtpmStartLimit, err)
		}
	}
}

// Stop kills the program without TPM2_Shutdown, like a power cut.
// Stopping a stopped TPM does nothing.
func (s *Swtpm) Stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping swtpm: %w", err)
	}
	select {
	case <-s.exited:
	case <-time.After(swtpmStopLimit):
		return fmt.Errorf("swtpm still runs %s after it was killed", swtpmStopLimit)
	}
	if s.network == "unix" {
		if err := os.Remove(s.target); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the socket of swtpm: %w", err)
		}
	}
	return nil
}

// Clear makes it a different TPM, with new seeds and no persistent objects. It
// restarts a running TPM.
func (s *Swtpm) Clear() error {
	running := s.cmd != nil
	if err := s.Stop(); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "tpm2-*"))
	if err != nil {
		return fmt.Errorf("listing the state of swtpm: %w", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("erasing the state of swtpm: %w", err)
		}
	}
	if !running {
		return nil
	}
	return s.Start()
}

// Close stops the program and removes its socket.
func (s *Swtpm) Close() error {
	err := s.Stop()
	if s.network == "unix" {
		err = errors.Join(err, os.RemoveAll(filepath.Dir(s.target)))
	}
	return err
}
