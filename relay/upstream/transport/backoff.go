package transport

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"sealpost/relay/upstream/esmtp"
)

// backOff remembers the hosts that failed, so that a dead host is not tried for each
// message. It is safe for concurrent use.
type backOff struct {
	first, longest time.Duration

	mu    sync.Mutex
	hosts map[string]failedHost
}

// failedHost is a host that is not tried until a time.
type failedHost struct {
	until time.Time
	delay time.Duration
	err   error // of the last try
}

// HeldHost is the error of a host that is not tried, because it failed shortly before.
type HeldHost struct {
	Until time.Time
	Err   error // of the last try
}

func (h *HeldHost) Error() string {
	return fmt.Sprintf("it is not tried before %s, because it failed: %v", h.Until.UTC().Format("15:04:05 MST"), h.Err)
}

func (h *HeldHost) Unwrap() error { return h.Err }

// isHostFault reports whether an error concerns a host whatever is sent to it: it cannot
// be reached, or it hangs up or refuses service before a transaction.
func isHostFault(err error) bool {
	op, refusal := (*net.OpError)(nil), (*esmtp.UnexpectedReply)(nil)
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &refusal) || errors.Is(err, esmtp.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func newBackOff(first, longest time.Duration) *backOff {
	return &backOff{first: first, longest: longest, hosts: make(map[string]failedHost)}
}

// check returns a *HeldHost if the host must not be tried yet.
func (b *backOff) check(host string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if failed, found := b.hosts[host]; found && now.Before(failed.until) {
		return &HeldHost{failed.until, failed.err}
	}
	return nil
}

// failed holds the host back, each time for twice as long.
func (b *backOff) failed(host string, err error, now time.Time) {
	if b.first == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delay := b.first
	if earlier, found := b.hosts[host]; found {
		delay = min(2*earlier.delay, b.longest)
	}
	const maxHosts = 1000
	if len(b.hosts) >= maxHosts {
		maps.DeleteFunc(b.hosts, func(_ string, f failedHost) bool { return !now.Before(f.until) })
	}
	if len(b.hosts) < maxHosts {
		b.hosts[host] = failedHost{now.Add(delay), delay, err}
	}
}

func (b *backOff) succeeded(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hosts, host)
}
