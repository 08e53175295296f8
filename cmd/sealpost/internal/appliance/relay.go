package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/process"
	"sealpost/relay/control"
	"sealpost/relay/server"
)

// relayUser is the relay's user and group, which owns only the state and the TPM.
const relayUser = 1000

// relayProcess is the relay: an unprivileged child that is restarted when it exits.
type relayProcess struct {
	*group
	child       *process.Child
	firstBanner chan struct{} // closed after the first greeting of a relay

	mu        sync.Mutex
	end       context.CancelFunc // stops the relay; nil while none should run
	forbidden bool               // none may run, because the box is being reset
	addresses []string           // of its listeners
	exits     int                // unexpected exits
	lastExit  string             // output of the last one
	greeted   bool               // firstBanner is closed
	unwatch   context.CancelFunc // ends the wait for the banner of the last start
}

func newRelayProcess(g *group, child *process.Child) *relayProcess {
	r := &relayProcess{group: g, child: child, firstBanner: make(chan struct{}), unwatch: func() {}}
	child.User, child.Group = relayUser, relayUser
	child.Capabilities = []uintptr{unix.CAP_NET_BIND_SERVICE}
	child.Env = []string{"GOMEMLIMIT=" + memoryLimit()}
	logStart, logEnd := child.Started, child.Ended
	child.Started = func(pid int) {
		logStart(pid)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unwatch()
		ctx, cancel := context.WithTimeout(r.ctx, rebootAfter)
		r.unwatch = cancel
		r.spawn(func(context.Context) { r.awaitBanner(ctx) })
	}
	child.Ended = func(e process.End) {
		r.mu.Lock()
		r.exits, r.lastExit = r.exits+1, lastLine(e)
		r.mu.Unlock()
		logEnd(e)
	}
	return r
}

// memoryLimit leaves half of the memory to the kernel and the other processes.
func memoryLimit() string {
	total := kernel.Memory()
	if total == 0 {
		return "off"
	}
	return fmt.Sprint(total / 2)
}

// lastLine returns the last output line of a process, or its exit status.
func lastLine(e process.End) string {
	lines := strings.Split(strings.TrimSpace(e.Last), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return e.Status
}

// launch starts the relay before its state is available.
func (r *relayProcess) launch() {
	r.logFault("relay", errors.Join(os.MkdirAll(relayDir, 0o755), os.Chown(relayDir, relayUser, relayUser)))
	r.startServing()
}

func (r *relayProcess) startServing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil || r.forbidden {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.end = cancel
	r.spawn(func(context.Context) { r.child.Run(ctx) })
}

func (r *relayProcess) stopServing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		r.end()
		r.end = nil
	}
}

// forbid stops the relay, and prevents a start until allow.
func (r *relayProcess) forbid() {
	r.mu.Lock()
	r.forbidden = true
	r.mu.Unlock()
	r.stopServing()
}

func (r *relayProcess) allow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forbidden = false
}

func (r *relayProcess) serving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end != nil
}

func (r *relayProcess) restart() { r.child.Restart() }

func (r *relayProcess) listen(addresses []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses = addresses
}

// exited returns the number of unexpected exits and the last one's output.
func (r *relayProcess) exited() (times int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exits, r.lastExit
}

// awaitBanner logs when a new relay greets its first client.
func (r *relayProcess) awaitBanner(ctx context.Context) {
	// A box without settings has no banner for days.
	const firstInterval, lastInterval = 20 * time.Millisecond, time.Second
	for interval := firstInterval; ctx.Err() == nil; interval = min(interval*21/20, lastInterval) {
		r.mu.Lock()
		addresses := r.addresses
		r.mu.Unlock()
		// Without a control socket the relay does not listen yet.
		if _, err := os.Stat(relaySocket); err == nil && server.CheckListeners(ctx, addresses) == nil {
			r.journal.RelayServes(kernel.Uptime())
			r.mu.Lock()
			if !r.greeted {
				r.greeted = true
				close(r.firstBanner)
			}
			r.mu.Unlock()
			return
		}
		time.Sleep(interval)
	}
}

// awaitFirstBanner waits for the first greeting, so that optional components do
// not slow down the start.
func (r *relayProcess) awaitFirstBanner() {
	const maxWait = 2 * time.Second
	if !r.serving() {
		return
	}
	select {
	case <-r.firstBanner:
	case <-time.After(maxWait):
	}
}

// starting reports whether no relay has greeted yet.
func (r *relayProcess) starting() bool {
	select {
	case <-r.firstBanner:
		return false
	default:
		return true
	}
}

// askTimeout limits a call to the relay.
const askTimeout = 2 * server.GreetTimeout

// check asks the relay whether it is healthy; no relay is healthy if none should
// run.
func (r *relayProcess) check(ctx context.Context) error {
	if !r.serving() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return control.Client{Socket: relaySocket}.Health(ctx)
}

// holdsMail reports whether the relay holds mail. [relayProcess.check] reports a
// relay that does not reply.
func (r *relayProcess) holdsMail(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status, err := control.Client{Socket: relaySocket}.Status(ctx)
	return err == nil && (status.Held != "" || len(status.Accounts) > 0 || status.Spool != "")
}

// handOverTPM passes the TPM to the relay. If it appears late, the relay must be
// restarted, because a confined process cannot get more privileges. Only after loaded
// is closed is a missing TPM a fault: its driver may be a module.
func (r *relayProcess) handOverTPM(ctx context.Context, chip string, loaded <-chan struct{}) {
	if !filepath.IsAbs(chip) {
		return
	}
	err := kernel.AwaitFile(chip, wire.TPMTimeout)
	late := err != nil
	if late {
		select {
		case <-loaded:
			err = kernel.AwaitFile(chip, wire.TPMTimeout)
		case <-ctx.Done():
		}
	}
	if err != nil && ctx.Err() == nil {
		r.logFault("TPM", fmt.Errorf("there is no %s: check that the TPM is fitted", chip))
	}
	for err != nil && ctx.Err() == nil {
		err = kernel.AwaitFile(chip, 10*time.Second)
	}
	if ctx.Err() != nil {
		return
	}
	r.logFault("TPM", os.Chown(chip, relayUser, relayUser))
	if late {
		r.restart()
	}
}
