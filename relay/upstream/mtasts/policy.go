// Package mtasts finds out what TLS a domain demands for mail to it, by MTA-STS (RFC
// 8461): it fetches the domain's policy, and keeps it for as long as the domain says.
//
// It knows policies, the record that announces them, and HTTPS. It must not know
// connections to mail hosts, or where the policies that outlive a restart are stored.
package mtasts

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode is what a policy demands (RFC 8461 section 5).
type Mode string

// The modes of a policy.
const (
	Enforce Mode = "enforce" // mail goes only to listed hosts with a verified certificate
	Testing Mode = "testing" // failures are reported only
	None    Mode = "none"    // the domain has no policy any more
)

// Policy is a domain's policy (RFC 8461 section 3.2).
type Policy struct {
	Mode   Mode          `json:"mode"`
	MX     []string      `json:"mx,omitempty"` // in lower case; "*.example.com" stands for one label
	MaxAge time.Duration `json:"max_age"`
}

// Limits of a policy. RFC 8461 section 3.2 limits max_age to a year.
const (
	maxPolicy = 64 << 10 // octets
	maxMX     = 100
	maxAge    = 31557600 * time.Second
)

// Parse reads a policy. Lines end in CRLF or LF, and unknown keys are ignored.
func Parse(text []byte) (Policy, error) {
	var p Policy
	if len(text) > maxPolicy {
		return p, fmt.Errorf("the policy has more than %d octets", maxPolicy)
	}
	version, age := "", -1
	for line := range bytes.Lines(text) {
		key, value, found := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
		value = strings.Trim(value, " \t")
		switch {
		case !found:
		case key == "version" && version == "":
			version = value
		case key == "mode" && p.Mode == "":
			p.Mode = Mode(value)
		case key == "max_age" && age < 0:
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return Policy{}, fmt.Errorf("max_age is %q, not a number of seconds", value)
			}
			age = int(seconds)
		case key == "mx" && len(p.MX) < maxMX:
			p.MX = append(p.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
		}
	}
	switch {
	case version != "STSv1":
		return Policy{}, fmt.Errorf("the version of the policy is %q, not STSv1", version)
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != None:
		return Policy{}, fmt.Errorf("the mode of the policy is %q", p.Mode)
	case age < 0:
		return Policy{}, errors.New("the policy has no max_age")
	case len(p.MX) == 0 && p.Mode != None:
		return Policy{}, errors.New("the policy names no mail host")
	}
	p.MaxAge = min(time.Duration(age)*time.Second, maxAge)
	return p, nil
}

// Matches reports whether the policy lists a mail host (RFC 8461 section 4.1).
func (p Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		suffix, wildcard := strings.CutPrefix(pattern, "*.")
		if wildcard && parent != "" && suffix == parent || !wildcard && pattern == host {
			return true
		}
	}
	return false
}

// parseRecord returns the id in the records of _mta-sts (RFC 8461 section 3.1), or "" if
// they announce no policy. More than one record announces none.
func parseRecord(records []string) (id string) {
	found := 0
	for _, record := range records {
		rest, isSTS := strings.CutPrefix(record, "v=STSv1")
		if !isSTS || strings.TrimLeft(rest, " \t") != "" && !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue
		}
		found++
		for field := range strings.SplitSeq(rest, ";") {
			if key, value, _ := strings.Cut(field, "="); strings.TrimSpace(key) == "id" {
				id = strings.TrimSpace(value)
			}
		}
	}
	const maxID = 32
	if found != 1 || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return ""
	}
	return id
}
