package settings

import (
	"fmt"
	"net/netip"
	"strings"
)

// Domain is a DNS domain of at least two labels, in lower case.
type Domain string

// UnmarshalText checks for letters, digits and hyphens (RFC 5321, 4.1.2).
func (d *Domain) UnmarshalText(text []byte) error {
	name := strings.ToLower(string(text))
	if !isHostName(name) || !strings.Contains(name, ".") {
		return fmt.Errorf("%q is not a domain: write it like \"contoso.com\"", text)
	}
	*d = Domain(name)
	return nil
}

// Host is a DNS name in lower case, of any number of labels, or an IP address;
// empty for the default.
type Host string

// UnmarshalText checks the name or the address.
func (h *Host) UnmarshalText(text []byte) error {
	name := strings.ToLower(string(text))
	if _, err := netip.ParseAddr(name); err != nil && name != "" && !isHostName(name) {
		return fmt.Errorf("%q is not a host name: write it like \"relay.contoso.com\"", text)
	}
	*h = Host(name)
	return nil
}

// Address is a mail address without a display name, or empty. Its domain is in
// lower case.
type Address string

// UnmarshalText accepts a Dot-string as local part (RFC 5321, 4.1.2). It rejects
// quoted local parts, which Exchange Online mailboxes cannot have.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = ""
		return nil
	}
	local, domain, _ := strings.Cut(string(text), "@")
	var d Domain
	if !isDotString(local) || d.UnmarshalText([]byte(domain)) != nil {
		return fmt.Errorf("%q is not a mail address: write it like \"printer@contoso.com\"", text)
	}
	*a = Address(local + "@" + string(d))
	return nil
}

// Domain returns the part after the @.
func (a Address) Domain() Domain {
	_, domain, _ := strings.Cut(string(a), "@")
	return Domain(domain)
}

func isHostName(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	// An all-numeric last label is a mistyped IP address (RFC 3696, 2).
	return len(name) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		if !isAlphanumeric(c) && c != '-' {
			return false
		}
	}
	return true
}

func isDotString(local string) bool {
	if len(local) > 64 {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for _, c := range []byte(atom) {
			if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
