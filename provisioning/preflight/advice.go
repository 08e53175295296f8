package preflight

import (
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
	Port25   Reach `json:"port25"`
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

// Advise says which delivery method would work from here.
func (r ProbeResult) Advise() string {
	switch {
	case r.Port25.OK && r.STARTTLS.OK:
		return "connector: the tenant's host is reachable on port 25, and its certificate is valid"
	case r.Port25.OK && r.Authority != "":
		return fmt.Sprintf("connector, if this is your own host: it is reachable on port 25, and its certificate is from the unknown authority %q", r.Authority)
	case r.Port25.OK:
		return "the tenant's host is reachable on port 25, but TLS fails: a device in between interferes, such as a firewall with SMTP inspection; turn it off for this box"
	case r.Port587.OK:
		return "port 25 to the tenant is blocked, as by many providers, but port 587 is open: open port 25 to " + r.Host + " at the firewall or provider, or choose submission"
	}
	return "neither port 25 nor port 587 is reachable: check the cable, the gateway and the firewall of this site"
}
