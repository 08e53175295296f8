package lan

import (
	"slices"
	"sync"

	"sealpost/relay/device"
)

// seen is what was seen of a client.
type seen struct {
	mu                sync.Mutex // the goroutine that receives by BDAT uses it too
	hello, tls, login string
	quirks            []string
}

// maxQuirks limits what a hostile client can make the relay store.
const maxQuirks = 16

// quirk notes how a client differs from the standards.
func (c *clientConn) quirk(name string) {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	if !slices.Contains(c.seen.quirks, name) && len(c.seen.quirks) < maxQuirks {
		c.seen.quirks = append(c.seen.quirks, name)
	}
}

// setSeen changes what was seen of the client.
func (c *clientConn) setSeen(change func(*seen)) {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	change(&c.seen)
}

// record tells the Recorder what was seen of the client since the last call: a number of
// messages, and a refusal if there was one.
func (c *clientConn) record(messages int, refusal string) {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	if messages == 0 && refusal == "" && c.seen.hello == "" && len(c.seen.quirks) == 0 {
		return // such as the health check, which only looks at the greeting
	}
	o := device.Observation{
		Client: c.client, MAC: c.identity.MAC, Hello: c.seen.hello, TLS: c.seen.tls, Login: c.seen.login,
		Quirks: c.seen.quirks, Messages: messages, Refused: refusal != "", Refusal: refusal,
	}
	if c.identity.User != nil {
		o.User = c.identity.User.Name
	}
	c.seen.quirks = nil
	c.sessions.record(o)
}

func (s *sessions) record(o device.Observation) {
	if s.config.Recorder != nil {
		s.config.Recorder.Record(o)
	}
}
