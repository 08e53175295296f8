package lan

import (
	"slices"
	"sync"

	"sealpost/relay/device"
)

// observed is what was seen of a client.
type observed struct {
	mu                sync.Mutex // the goroutine that receives by BDAT uses it too
	hello, tls, login string
	quirks            []string
}

// maxQuirks limits what a hostile client can make the relay store.
const maxQuirks = 16

// quirk notes how a client differs from the standards.
func (c *clientConn) quirk(name string) {
	c.observed.mu.Lock()
	defer c.observed.mu.Unlock()
	if !slices.Contains(c.observed.quirks, name) && len(c.observed.quirks) < maxQuirks {
		c.observed.quirks = append(c.observed.quirks, name)
	}
}

// observe changes what was seen of the client.
func (c *clientConn) observe(change func(*observed)) {
	c.observed.mu.Lock()
	defer c.observed.mu.Unlock()
	change(&c.observed)
}

// record tells the Recorder what was seen of the client since the last call: a number of
// messages, and a refusal if there was one.
func (c *clientConn) record(messages int, refusal string) {
	c.observed.mu.Lock()
	defer c.observed.mu.Unlock()
	if messages == 0 && refusal == "" && c.observed.hello == "" && len(c.observed.quirks) == 0 {
		return // such as the health check, which only looks at the greeting
	}
	o := device.Observation{
		Client: c.client, MAC: c.identity.MAC, Hello: c.observed.hello, TLS: c.observed.tls, Login: c.observed.login,
		Quirks: c.observed.quirks, Messages: messages, Refused: refusal != "", Refusal: refusal,
	}
	if c.identity.User != nil {
		o.User = c.identity.User.Name
	}
	c.observed.quirks = nil
	c.sessions.record(o)
}

func (s *sessions) record(o device.Observation) {
	if s.config.Recorder != nil {
		s.config.Recorder.Record(o)
	}
}
