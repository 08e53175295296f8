package preflight

import (
	"cmp"
	"fmt"

	"sealpost/provisioning/settings"
)

// Reach is the result of a connection attempt.
type Reach struct {
	OK   bool   `json:"ok"`
	Text string `json:"words"`
}

// ProbeResult says which delivery methods would work from a site.
type ProbeResult struct {
	Host string `json:"host"` // the tenant's mail host
	// ByMX reports whether the relay would find the host by MX.
	ByMX     bool  `json:"by_mx,omitempty"`
	Port     int   `json:"port,omitempty"` // of the tenant's mail host; 0 for 25
	Port25   Reach `json:"port25"`         // of Port
	STARTTLS Reach `json:"starttls"`
	// Authority is the untrusted root of the host's certificate, and
	// AuthorityPEM its certificate if the host sent it.
	Authority    string `json:"authority,omitempty"`
	AuthorityPEM string `json:"authority_pem,omitempty"`
	Port587      Reach  `json:"port587"`
	Advice       string `json:"advice"`
}

// Method returns the delivery method to propose.
func (r ProbeResult) Method() string {
	if !r.Port25.OK && r.Port587.OK {
		return string(settings.MethodSubmission)
	}
	return string(settings.MethodConnector)
}

// PortName is the name of the port of the tenant's mail host.
func (r ProbeResult) PortName() string { return fmt.Sprintf("port %d", cmp.Or(r.Port, 25)) }

// Advise says which delivery method would work from here.
func (r ProbeResult) Advise() string {
	port := r.PortName()
	switch {
	case r.Port25.OK && r.STARTTLS.OK:
		return "connector: the tenant's host is reachable on " + port + ", and its certificate is valid"
	case r.Port25.OK && r.Authority != "":
		return fmt.Sprintf("connector, if this is your own host: it is reachable on %s, and its certificate is from the unknown authority %q", port, r.Authority)
	case r.Port25.OK:
		return "the tenant's host is reachable on " + port + ", but TLS fails: a device in between interferes, such as a firewall with SMTP inspection; turn it off for this box"
	case r.Port587.OK:
		return port + " to the tenant is blocked, as by many providers, but port 587 is open: open " + port + " to " + r.Host + " at the firewall or provider, or choose submission"
	}
	return "neither " + port + " nor port 587 is reachable: check the cable, the gateway and the firewall of this site"
}
