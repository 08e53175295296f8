// Package box runs the real sealpost program: its commands, and the relay as a
// separate process.
//
// It knows command lines, settings files and processes. It must not use the
// program's packages: it sees only what a technician sees.
package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sealpost/tests/rigs/parts"
)

// timeout limits the start and the stop of the relay, and each command.
const timeout = 2 * time.Minute

// Build compiles the program into dir and returns its path. The build is the
// shipped one except for the platform: static and without CGO.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "sealpost")
	build := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-o", program, "sealpost/cmd/sealpost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sealpost: %w\n%s", err, output)
	}
	return program, nil
}

// Box is one box: a folder with settings and state, and the program.
type Box struct {
	Program string
	Dir     string
	Config  string // the settings file
	State   string // the state file, to be named in the settings
}

// New writes the settings into dir.
func New(program, dir, settings string) (*Box, error) {
	b := &Box{Program: program, Dir: dir, Config: filepath.Join(dir, "sealpost.toml"), State: filepath.Join(dir, "box.state")}
	return b, b.Configure(settings)
}

// Configure replaces the settings. "STATE" in them is replaced by the path of the
// state file.
func (b *Box) Configure(settings string) error {
	return os.WriteFile(b.Config, []byte(strings.ReplaceAll(settings, "STATE", b.State)), 0o600)
}

// Result is the output and exit status of a command.
type Result struct {
	Out, Err string
	Status   int
}

// Run runs one command of the program.
func (b *Box) Run(args ...string) (Result, error) { return b.RunWith("", args...) }

// RunWith is Run with standard input.
func (b *Box) RunWith(input string, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	command := exec.CommandContext(ctx, b.Program, append(args, "--config", b.Config)...)
	command.Dir = b.Dir
	command.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("sealpost %s: %w", strings.Join(args, " "), err)
	}
	return Result{out.String(), errs.String(), command.ProcessState.ExitCode()}, nil
}

// Relay is a running relay.
type Relay struct {
	Log     *Log
	process *os.Process
	ended   chan struct{}
	state   *os.ProcessState
}

// StartRelay starts the relay and waits until it listens, or has ended.
func (b *Box) StartRelay() (*Relay, error) {
	command := exec.Command(b.Program, "relay", "--config", b.Config)
	command.Dir = b.Dir
	r := &Relay{Log: &Log{}, ended: make(chan struct{})}
	command.Stderr = r.Log
	// Its own process group, so that Ctrl-C at the terminal does not reach it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	r.process = command.Process
	go func() {
		_ = command.Wait()
		r.state = command.ProcessState
		close(r.ended)
	}()
	if err := r.Await("relay started"); err != nil {
		return r, errors.Join(err, r.Stop())
	}
	return r, nil
}

// PID returns the relay's process ID.
func (r *Relay) PID() int { return r.process.Pid }

// Await waits until the log contains the text.
func (r *Relay) Await(text string) error {
	deadline := time.Now().Add(timeout)
	for !strings.Contains(r.Log.String(), text) {
		select {
		case <-r.ended:
			return fmt.Errorf("the relay ended before it logged %q:\n%s", text, r.Log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the relay did not log %q:\n%s", text, r.Log)
		}
	}
	return nil
}

// Running reports whether the relay still runs.
func (r *Relay) Running() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// Stop sends SIGTERM to the relay. It fails unless the exit status is 0.
func (r *Relay) Stop() error {
	_ = r.process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(timeout):
		_ = r.process.Kill()
		<-r.ended
		return fmt.Errorf("the relay did not stop:\n%s", r.Log)
	}
	if !r.state.Success() {
		return fmt.Errorf("the relay ended with %s:\n%s", r.state, r.Log)
	}
	return nil
}

// Kill kills the relay, like a power cut.
func (r *Relay) Kill() {
	_ = r.process.Kill()
	<-r.ended
}

// CPU returns the processor time that the relay has used so far.
func (r *Relay) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID()))
	if err != nil {
		return 0, err
	}
	// Fields 14 and 15, counted after the name in brackets, in 1/100 s.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// Log is the output of the relay.
type Log struct{ parts.Log }

// Event is a line of the journal in JSON form.
type Event map[string]any

// Events returns the log's events of that name. The settings must select JSON.
func (l *Log) Events(name string) []Event {
	var events []Event
	for line := range strings.Lines(l.String()) {
		var event Event
		if json.Unmarshal([]byte(line), &event) == nil && event["event"] == name {
			events = append(events, event)
		}
	}
	return events
}
