package direct

import (
	"errors"
	"net"
	"sync"

	"sealpost/relay/upstream"
)

// unreachableDomains is how many domains in a row must be unreachable until the line, not
// the domains, is at fault: many providers block outbound port 25.
const unreachableDomains = 3

// reach tells an unreachable domain from a line that reaches none. It is safe for
// concurrent use.
type reach struct {
	mu   sync.Mutex
	dead map[string]bool // domains that were unreachable since one was reached
}

// failed records why a domain got no mail, and reports whether none can be reached.
func (r *reach) failed(domain string, u *upstream.Unavailable) bool {
	dns := (*net.DNSError)(nil)
	if errors.As(u, &dns) && dns.IsTimeout {
		return true // no name server answers
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.Status != statusUnreachable {
		return false
	}
	if r.dead == nil {
		r.dead = make(map[string]bool)
	}
	if len(r.dead) < unreachableDomains {
		r.dead[domain] = true
	}
	return len(r.dead) >= unreachableDomains
}

func (r *reach) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.dead)
}
