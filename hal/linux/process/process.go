// Package process keeps child processes running: it starts them, captures their
// output in RAM, and restarts them after growing delays when they exit.
//
// It knows command lines, signals and exit statuses. It must not know what a child
// does or whether it is healthy: its caller uses [Child.Kill].
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// firstDelay and maxDelay limit the delay before an ended child is started again.
	// After a run of stableRun the next delay is firstDelay.
	firstDelay = 250 * time.Millisecond
	maxDelay   = 30 * time.Second
	stableRun  = time.Minute
	// stopTimeout is how long a child may take to stop.
	stopTimeout = 25 * time.Second
	// keptOutput is how much of the end of a child's output is kept, in bytes.
	keptOutput = 64 << 10
)

// Child describes a child process.
type Child struct {
	Name string
	Args []string // the program's path first
	// User and Group it runs as; 0 is root.
	User, Group uint32
	// Capabilities it keeps without being root.
	Capabilities []uintptr
	Env          []string
	// Ended is called after each exit that [Child.Restart] did not request, with the
	// delay before the next start.
	Ended func(End)
	// Started is called after each start.
	Started func(pid int)

	running sync.Mutex // for the whole of a Run
	mu      sync.Mutex
	process *os.Process
	restart chan struct{} // has a value if a restart is requested
	output  tail
}

// End is the exit of a child.
type End struct {
	Status string        // "exit status 1", "signal: killed", or why it did not start
	Last   string        // the end of its output
	Delay  time.Duration // before the next start
}

// Run keeps the child running until ctx ends; then it asks it to stop, and kills it
// if it does not. A second Run waits for the first.
func (c *Child) Run(ctx context.Context) {
	c.running.Lock()
	defer c.running.Unlock()
	for delay := firstDelay; ctx.Err() == nil; {
		begun := time.Now()
		status := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		select {
		case <-c.restart:
			delay = firstDelay
			continue
		default:
		}
		if time.Since(begun) > stableRun {
			delay = firstDelay
		}
		c.Ended(End{status, c.output.String(), delay})
		select {
		case <-ctx.Done():
		case <-c.restart: // the cause may be fixed, so do not wait
			delay = firstDelay
		case <-time.After(delay):
			delay = min(2*delay, maxDelay)
		}
	}
}

// once runs the child until it exits.
func (c *Child) once(ctx context.Context) string {
	command := exec.Command(c.Args[0], c.Args[1:]...)
	command.Env = c.Env
	c.output.reset()
	command.Stdout, command.Stderr = &c.output, &c.output
	command.SysProcAttr = &syscall.SysProcAttr{
		// Signals of a terminal are for the parent only.
		Setsid:      true,
		AmbientCaps: c.Capabilities,
		Credential:  &syscall.Credential{Uid: c.User, Gid: c.Group},
	}
	release, err := c.begin(command)
	if err != nil {
		return fmt.Sprintf("it did not start: %v", err)
	}
	defer release()
	defer c.forget()
	c.Started(command.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTimeout):
			_ = command.Process.Kill()
			<-ended
		}
	}
	return command.ProcessState.String()
}

// begin starts a run. It holds mu, so that no signal is lost between the start and
// the storing of the process.
func (c *Child) begin(command *exec.Cmd) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restart = make(chan struct{}, 1)
	if release, err = start(command); err == nil {
		c.process = command.Process
	}
	return release, err
}

func (c *Child) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process = nil
}

// Signal sends a signal to the child, if it runs.
func (c *Child) Signal(s os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = c.process.Signal(s)
	}
}

// Await waits until no Run is in progress, and reports whether that was before the
// timeout.
func (c *Child) Await(timeout time.Duration) bool {
	const step = 20 * time.Millisecond
	for deadline := time.Now().Add(timeout); ; time.Sleep(step) {
		if c.running.TryLock() {
			c.running.Unlock()
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Kill kills the child.
func (c *Child) Kill() { c.Signal(syscall.SIGKILL) }

// Restart stops the child and starts it again at once, even during a delay.
func (c *Child) Restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.restart <- struct{}{}:
	default: // a restart is requested already, or no child was started
	}
	if c.process != nil {
		_ = c.process.Signal(syscall.SIGTERM)
	}
}

// tail stores the end of the data that is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - keptOutput; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = t.text[:0]
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
