// Package user stores the users as whom devices log in (SMTP AUTH, RFC 4954), and
// compares what a client proves with what is stored.
//
// It knows names, passwords, and what a user is bound to. It must not know SMTP, how a
// TPM is reached, or what follows from a login.
package user

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/settings"
)

// MaxUsers is the maximum number of users.
const MaxUsers = 100

const (
	maxName                     = 64
	minPassword, maxPassword    = 8, 128
	maxClients                  = 16
	maxSenders, maxRecipients   = 50, 50
	maxSection                  = 192 << 10 // bytes of all users together
	firstPrintable, lastInASCII = 0x20, 0x7e
)

// ErrExists is returned if a new user has the name of another.
var ErrExists = fault.New(fault.UserExists, "there is a user of this name already")

// ErrNone is returned if there is no user of this name.
var ErrNone = fault.New(fault.NoUser, "there is no user of this name")

// User is a user, without its password.
type User struct {
	// Name is the authentication identity (RFC 4422 section 2). Its case does not count.
	Name string `json:"name"`
	// CRAMMD5 reports that the user may log in by CRAM-MD5 (RFC 2195), for which the
	// password itself is stored, sealed.
	CRAMMD5 bool `json:"cram_md5,omitempty"`
	// Clients are the networks from which the user may log in; none: those that may connect.
	Clients []netip.Prefix `json:"clients,omitempty"`
	// Senders are the addresses, or "@" and a domain, as which the user may send; none: as
	// the settings say. Their case does not count.
	Senders []string `json:"senders,omitempty"`
	// Recipients are the addresses, or "@" and a domain, to which the user may send; none:
	// any. Their case does not count.
	Recipients []string `json:"recipients,omitempty"`
}

// String describes the user in one line.
func (u User) String() string {
	parts := []string{u.Name}
	if u.CRAMMD5 {
		parts = append(parts, "CRAM-MD5")
	}
	var clients []string
	for _, network := range u.Clients {
		clients = append(clients, strings.TrimSuffix(strings.TrimSuffix(network.String(), "/32"), "/128"))
	}
	for _, bound := range []struct {
		label string
		to    []string
	}{{"from", clients}, {"as", u.Senders}, {"to", u.Recipients}} {
		if len(bound.to) > 0 {
			parts = append(parts, bound.label+" "+strings.Join(bound.to, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// Password is a password, which is never printed.
type Password string

// Format implements fmt.Formatter for every verb.
func (Password) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "(a password)") }

// Change adds, replaces or removes one user.
type Change struct {
	User
	Password Password `json:"password,omitempty"`
	// Replace permits that the user replaces another of its name.
	Replace bool `json:"replace,omitempty"`
	// Keep keeps what a replaced user is bound to.
	Keep bool `json:"keep,omitempty"`
	// Remove removes the user of this name; everything else is ignored.
	Remove bool `json:"remove,omitempty"`
}

// Format keeps every verb from printing the password.
func (c Change) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "change of the user %q", c.Name) }

// nameKey is the form in which names are compared.
func nameKey(name string) string { return strings.ToLower(name) }

// CheckName returns an error for an invalid name.
func CheckName(name string) error {
	if name == "" || len(name) > maxName || !isPrintable(name) || strings.Contains(name, " ") {
		return fmt.Errorf("%.70q cannot be the name of a user: use 1 to %d letters, digits and signs of ASCII, without a space", name, maxName)
	}
	return nil
}

// CheckPassword returns an error for an invalid password. Characters outside of ASCII
// are refused, because devices disagree on how to encode them.
func CheckPassword(password Password) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return fmt.Errorf("a password has %d to %d characters: choose another", minPassword, maxPassword)
	}
	if !isPrintable(string(password)) {
		return errors.New("the password has a character that devices encode differently: use letters, digits and signs of ASCII")
	}
	return nil
}

func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < firstPrintable || r > lastInASCII })
}

// ParseClient reads an address, or a network such as 192.168.10.0/24.
func ParseClient(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.50q is not an address or network: write it like 192.168.10.25 or 192.168.10.0/24", text)
	}
	if settings.IsPublicNetwork(network) { // a user's networks may connect
		return netip.Prefix{}, fmt.Errorf("%.50q is a large part of the internet: name the networks of your devices", text)
	}
	return network.Masked(), nil
}

// ParseAddress reads a mail address, or "@" and a domain, and returns it with its domain
// in lower case.
func ParseAddress(text string) (string, error) {
	if name, isDomain := strings.CutPrefix(text, "@"); isDomain {
		var domain settings.Domain
		if domain.UnmarshalText([]byte(name)) == nil {
			return "@" + string(domain), nil
		}
	} else {
		var address settings.Address
		if address.UnmarshalText([]byte(text)) == nil && address != "" {
			return string(address), nil
		}
	}
	return "", fmt.Errorf("%.80q is not a mail address or a domain: write it like printer@contoso.com or @contoso.com", text)
}

// Parse returns a user who is bound to these networks and addresses.
func Parse(name string, clients, senders, recipients []string) (User, error) {
	u := User{Name: name}
	faults := []error{CheckName(name)}
	for _, text := range clients {
		network, err := ParseClient(text)
		u.Clients, faults = append(u.Clients, network), append(faults, err)
	}
	for _, bound := range []struct {
		from []string
		to   *[]string
	}{{senders, &u.Senders}, {recipients, &u.Recipients}} {
		for _, text := range bound.from {
			address, err := ParseAddress(text)
			*bound.to, faults = append(*bound.to, address), append(faults, err)
		}
	}
	return u, errors.Join(faults...)
}

// Check returns all faults of the changes.
func Check(changes []Change) error {
	var faults []error
	for _, c := range changes {
		faults = append(faults, c.check())
	}
	return errors.Join(faults...)
}

func (c Change) check() error {
	faults := []error{CheckName(c.Name)}
	if c.Remove {
		return errors.Join(faults...)
	}
	addFault := func(err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("the user %.70q: %w", c.Name, err))
		}
	}
	addFault(CheckPassword(c.Password))
	if len(c.Clients) > maxClients || len(c.Senders) > maxSenders || len(c.Recipients) > maxRecipients {
		addFault(fmt.Errorf("it is bound to more than %d networks, %d senders or %d recipients: use larger networks, or domains", maxClients, maxSenders, maxRecipients))
	}
	if slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return !p.IsValid() }) {
		addFault(errors.New("one of its networks is not valid: write it like 192.168.10.0/24"))
	}
	if slices.ContainsFunc(c.Clients, settings.IsPublicNetwork) {
		addFault(errors.New("one of its networks is a large part of the internet: name the networks of your devices"))
	}
	for _, address := range slices.Concat(c.Senders, c.Recipients) {
		_, err := ParseAddress(address)
		addFault(err)
	}
	return errors.Join(faults...)
}
