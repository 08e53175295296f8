package preflight

import (
	"fmt"

	"sealpost/provisioning/settings"
)

// Reach is how far a look at a host came.
type Reach struct {
	OK    bool   `json:"ok"`
	Words string `json:"words"`
}

// Ways are the ways out of a site that were tried.
type Ways struct {
	Host string `json:"host"` // the tenant's mail host
	// ByMX tells that the relay would go to the host for the MX alone.
	ByMX     bool  `json:"by_mx,omitempty"`
	Port25   Reach `json:"port25"`
	STARTTLS Reach `json:"starttls"`
	// Authority is the untrusted root of the host's certificate, with its
	// certificate in PEM if the host showed it.
	Authority    string `json:"authority,omitempty"`
	AuthorityPEM string `json:"authority_pem,omitempty"`
	Port587      Reach  `json:"port587"`
	Advice       string `json:"advice"`
}

// Method is the one to propose.
func (w Ways) Method() string {
	if !w.Port25.OK && w.Port587.OK {
		return string(settings.MethodSubmission)
	}
	return string(settings.MethodConnector)
}

// Advise says which method would work from here.
func (w Ways) Advise() string {
	switch {
	case w.Port25.OK && w.STARTTLS.OK:
		return "connector: the tenant's host is reached on port 25, and its certificate is good"
	case w.Port25.OK && w.Authority != "":
		return fmt.Sprintf("connector, if this is your own host: it is reached on port 25, and its certificate is from %q, which this box does not know", w.Authority)
	case w.Port25.OK:
		return "the tenant's host is reached on port 25, but TLS with it fails: something between stands in the way, such as a firewall's mail inspection; have it switched off for this box"
	case w.Port587.OK:
		return "port 25 to the tenant is blocked, as many providers do, while port 587 is open: have the provider or the firewall open port 25 to " + w.Host + ", or choose submission"
	}
	return "neither port 25 nor port 587 is reached: check the cable, the gateway and the firewall of this site"
}
