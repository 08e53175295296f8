package transport

import (
	"errors"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"sealpost/relay/upstream/esmtp"
)

// backOff remembers the hosts that failed, so that a dead host does not delay each
// connection to the others. It is safe for concurrent use.
type backOff struct {
	first, longest time.Duration

	mu    sync.Mutex
	hosts map[string]failedHost
}

// failedHost is a host that is tried last until a time.
type failedHost struct {
	until time.Time
	delay time.Duration
}

// isHostFault reports whether an error concerns a host whatever is sent to it: it cannot
// be reached, or it hangs up or refuses service before a transaction.
func isHostFault(err error) bool {
	op, refusal := (*net.OpError)(nil), (*esmtp.UnexpectedReply)(nil)
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &refusal) || errors.Is(err, esmtp.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func newBackOff(first, longest time.Duration) *backOff {
	return &backOff{first: first, longest: longest, hosts: make(map[string]failedHost)}
}

// order returns the hosts with those last that failed shortly before.
func (b *backOff) order(hosts []Host, now time.Time) []Host {
	b.mu.Lock()
	defer b.mu.Unlock()
	var first, last []Host
	for _, host := range hosts {
		if failed, found := b.hosts[host.Name]; found && now.Before(failed.until) {
			last = append(last, host)
		} else {
			first = append(first, host)
		}
	}
	return append(first, last...)
}

// failed puts the host last, each time for twice as long.
func (b *backOff) failed(host string, now time.Time) {
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
		b.hosts[host] = failedHost{now.Add(delay), delay}
	}
}

func (b *backOff) succeeded(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hosts, host)
}
