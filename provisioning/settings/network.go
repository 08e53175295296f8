package settings

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
)

// HostAddress is a machine's own address with its prefix length, written as
// "192.168.10.25/24"; the zero value, written as "", is none.
type HostAddress struct{ netip.Prefix }

// UnmarshalText rejects addresses that no host can have.
func (a *HostAddress) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = HostAddress{}
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is not an address with its prefix length: write it like \"192.168.10.25/24\"", text)
	}
	if !usableByHost(p) {
		return fmt.Errorf("%q is not a host address: write the box's own, like \"192.168.10.25/24\"", text)
	}
	*a = HostAddress{p}
	return nil
}

// MarshalText writes the form that UnmarshalText reads.
func (a HostAddress) MarshalText() ([]byte, error) {
	if !a.IsValid() {
		return nil, nil
	}
	return a.Prefix.MarshalText()
}

// usableByHost reports whether one host can have the address: it is not
// unspecified, loopback, multicast, or a network or broadcast address.
func usableByHost(p netip.Prefix) bool {
	a := p.Addr()
	if !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || p.Bits() == 0 {
		return false
	}
	if p.Bits() >= 31 { // RFC 3021: a /31 has no network or broadcast address
		return true
	}
	octets, hosts := a.As4(), ^uint32(0)>>p.Bits()
	host := binary.BigEndian.Uint32(octets[:]) & hosts
	return host != 0 && host != hosts
}

// PEM is the text of one or more certificates.
type PEM string

// UnmarshalText checks that there is at least one PEM block, and nothing else.
func (p *PEM) UnmarshalText(text []byte) error {
	// A text that was pasted from a file may begin with a byte order mark.
	text = bytes.ReplaceAll(text, []byte("\xef\xbb\xbf"), nil)
	*p = PEM(text)
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return errors.New("does not hold certificates in PEM: paste them between three quotation marks, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")
		}
		text = rest
	}
	return nil
}
