package settings

import (
	"fmt"
	"slices"
	"strings"
)

// DKIM says how mail is signed (RFC 6376).
type DKIM struct {
	// Domains are the authors' domains whose mail is signed. Default: empty, meaning the
	// accepted domains; see [Settings.DKIMDomains].
	Domains []Domain `toml:"domains"`
	// Selector is the first part of the names of the keys. Default: "sealpost".
	Selector Selector `toml:"selector"`
	// Algorithms are those of the next keys. Default: "rsa" and "ed25519".
	Algorithms []DKIMAlgorithm `toml:"algorithms"`
}

// DKIMDomains returns the domains whose mail is signed.
func (s Settings) DKIMDomains() []Domain {
	if domains := s.Upstream.Direct.DKIM.Domains; len(domains) > 0 {
		return domains
	}
	return s.AcceptedDomains()
}

// checkDKIM checks that there are keys to sign with, each once.
func (s Settings) checkDKIM(fault func(key, format string, args ...any)) {
	algorithms := s.Upstream.Direct.DKIM.Algorithms
	if len(algorithms) == 0 {
		fault("upstream.direct.dkim.algorithms", "is empty: write [\"rsa\"], or leave it out")
	}
	if len(slices.Compact(slices.Sorted(slices.Values(algorithms)))) != len(algorithms) {
		fault("upstream.direct.dkim.algorithms", "lists an algorithm a second time: name each once")
	}
}

// DKIMAlgorithm is an algorithm of DKIM keys.
type DKIMAlgorithm string

// The algorithms.
const (
	DKIMRSA     DKIMAlgorithm = "rsa"     // RSA-2048 (RFC 8301), which every receiver verifies
	DKIMEd25519 DKIMAlgorithm = "ed25519" // RFC 8463
)

// UnmarshalText accepts "rsa" and "ed25519".
func (a *DKIMAlgorithm) UnmarshalText(text []byte) error {
	return choose(a, text, "an algorithm of DKIM keys", DKIMRSA, DKIMEd25519)
}

// Selector is a label for a DNS name, to which a date is appended.
type Selector string

// UnmarshalText checks the characters and the length.
func (s *Selector) UnmarshalText(text []byte) error {
	const maxLength = 40 // of the 63 octets of a label (RFC 1035 section 2.3.4)
	name := strings.ToLower(string(text))
	valid := len(name) <= maxLength && strings.Trim(name, "-") == name && name != ""
	for _, c := range []byte(name) {
		valid = valid && (c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
	}
	if !valid {
		return fmt.Errorf("%q is not a selector: write up to %d letters, digits and hyphens, like \"sealpost\"", text, maxLength)
	}
	*s = Selector(name)
	return nil
}
