package settings

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Direct is delivery to the mail hosts of each recipient's domain.
type Direct struct {
	// Port is the TCP port of mail hosts. Default: 25.
	Port int `toml:"port"`
	// Resolver is a name server that validates answers by DNSSEC, which DANE needs: one
	// on this machine, or one reached over TLS. Default: none.
	Resolver ValidatingResolver `toml:"resolver"`
	// Domains are the domains whose mail hosts need less than verified TLS. Default: none.
	Domains []DirectDomain `toml:"domain"`
	// DKIM says how mail is signed.
	DKIM DKIM `toml:"dkim"`
	Roots
}

// DirectDomain says what TLS the mail hosts of one domain must have.
type DirectDomain struct {
	Name Domain `toml:"name"`
	// TLS is what they must have. Required.
	TLS DomainTLS `toml:"tls"`
}

// DomainTLS is what TLS the mail hosts of a domain must have.
type DomainTLS string

// The values of DomainTLS.
const (
	DomainTLSVerify  DomainTLS = "verify"  // DANE, MTA-STS or a certificate under a public root
	DomainTLSEncrypt DomainTLS = "encrypt" // TLS with any certificate
	DomainTLSMay     DomainTLS = "may"     // TLS if the host offers it, else in clear
)

// UnmarshalText accepts the values of DomainTLS.
func (t *DomainTLS) UnmarshalText(text []byte) error {
	return choose(t, text, "a value of tls", DomainTLSVerify, DomainTLSEncrypt, DomainTLSMay)
}

// ValidatingResolver is a name server that validates: "127.0.0.1:53" on this machine, or
// "tls://NAME@ADDRESS:853" with the name in its certificate (RFC 7858, RFC 8310).
type ValidatingResolver string

// UnmarshalText rejects a server whose answers could be changed on the way.
func (v *ValidatingResolver) UnmarshalText(text []byte) error {
	*v = ValidatingResolver(text)
	if len(text) == 0 {
		return nil
	}
	address, name := v.Server()
	switch {
	case !address.IsValid() || address.Port() == 0:
		return fmt.Errorf("%q is not a validating resolver: write it like \"127.0.0.1:53\" or \"tls://dns.example.net@192.0.2.53:853\"", text)
	case name == "" && !address.Addr().IsLoopback():
		return fmt.Errorf("%q is not on this machine, so its answers could be changed on the way: write it like \"tls://dns.example.net@%s\"", text, address)
	}
	return nil
}

// Server returns the server's address, and the name in its certificate; empty without TLS.
func (v ValidatingResolver) Server() (address netip.AddrPort, name string) {
	text := string(v)
	if rest, overTLS := strings.CutPrefix(text, "tls://"); overTLS {
		if name, text, _ = strings.Cut(rest, "@"); name == "" {
			return netip.AddrPort{}, ""
		}
	}
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, ""
	}
	return address, name
}

// checkDirect checks what only the method "direct" needs.
func (s Settings) checkDirect(fault func(key, format string, args ...any)) {
	if p := s.Upstream.Direct.Port; p < 1 || p > 65535 {
		fault("upstream.direct.port", "is %d: write a port from 1 to 65535, usually 25", p)
	}
	for i, d := range s.Upstream.Direct.Domains {
		key := fmt.Sprintf("upstream.direct.domain[%d]", i+1)
		if d.Name == "" {
			fault(key+".name", "is empty: name the domain of the recipients")
		}
		if d.Name != "" && slices.ContainsFunc(s.Upstream.Direct.Domains[:i], func(other DirectDomain) bool { return other.Name == d.Name }) {
			fault(key+".name", "is %s, as in a table above: leave out one of them", d.Name)
		}
		if d.TLS == "" {
			fault(key+".tls", "is empty: write \"encrypt\" or \"may\"")
		}
	}
}
