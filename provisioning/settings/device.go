package settings

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Device is what the site knows of one device, or of all devices of a network.
// What it omits is as for every device.
type Device struct {
	// Address is the device's IP address, or a network as "192.168.10.0/24".
	Address AddressOrNetwork `toml:"address"`
	// MAC is the device's hardware address, which finds it under any IP address of
	// the box's own network. Either Address or MAC is set.
	MAC MAC `toml:"mac"`
	// Name is a name for people. Default: empty.
	Name string `toml:"name"`
	// Refuse refuses all mail of the device. Default: false.
	Refuse bool `toml:"refuse"`
	// TLS is "legacy" for a device that supports only old TLS, or "required".
	// Default: empty, as for its network.
	TLS DeviceTLS `toml:"tls"`
	// Auth is "any" for a device that insists on a login, whatever it is, or "required"
	// for one that must log in as a user. Default: empty, as for its network.
	Auth DeviceAuth `toml:"auth"`
	// Sender is the device's own sender, used like senders.default. Default: empty.
	Sender Address `toml:"sender"`
	// Senders are the senders that the device may use, in the envelope and in From.
	// Default: empty, those of the accepted domains.
	Senders []SenderPattern `toml:"senders"`
	// Recipients are the recipients that the device may send to. Default: empty, as
	// recipients.allow.
	Recipients []RecipientPattern `toml:"recipients"`
	// Tag is added to the local part of its sender, as in printer+TAG@contoso.com
	// (RFC 5233). Default: empty, none.
	Tag Tag `toml:"tag"`
	// Connections, MessagesPerMinute, MessageSize, RecipientsPerMessage and SpoolShare
	// are limits of the device. MessageSize and RecipientsPerMessage are at most those
	// of the section limits. Default: 0, those of the sections limits and spool.
	Connections          int  `toml:"connections"`
	MessagesPerMinute    int  `toml:"messages_per_minute"`
	MessageSize          Size `toml:"message_size"`
	RecipientsPerMessage int  `toml:"recipients_per_message"`
	SpoolShare           int  `toml:"spool_share"`
	// SilentAfter is the time without mail after which an alert is raised. Default: 0,
	// by the device's habit.
	SilentAfter Duration `toml:"silent_after"`
}

// Rewrite replaces a sender.
type Rewrite struct {
	// From is what a device sends: an address, or "@domain" for all of a domain, which
	// need not be one of DNS.
	From RewritePattern `toml:"from"`
	// To is the sender instead.
	To Address `toml:"to"`
}

// Recipients says to whom mail may be sent.
type Recipients struct {
	// Allow lists addresses, "@domain", and "own" for the accepted domains. Default:
	// empty, meaning everyone.
	Allow []RecipientPattern `toml:"allow"`
}

// maxDevices is how many devices may be listed; a text has no room for many more.
const maxDevices = 500

// checkDevices compares the values of each device with the others.
func (s Settings) checkDevices(fault func(key, format string, args ...any)) {
	if len(s.Devices) > maxDevices {
		fault("device", "lists %d devices: list at most %d, and use networks for more", len(s.Devices), maxDevices)
	}
	addresses, macs := map[netip.Prefix]bool{}, map[MAC]bool{}
	for i, d := range s.Devices {
		key := fmt.Sprintf("device[%d]", i+1)
		switch {
		case d.Address.IsValid() == (d.MAC != ""):
			fault(key, "needs one of address and mac: write address = \"192.168.10.20\", or mac = \"00:1e:8f:12:34:56\"")
		case d.Address.IsValid() && addresses[d.Address.Prefix]:
			fault(key+".address", "is %s, as that of a device above: put what is set for it into one [[device]]", d.Address)
		case d.MAC != "" && macs[d.MAC]:
			fault(key+".mac", "is %s, as that of a device above: put what is set for it into one [[device]]", d.MAC)
		}
		addresses[d.Address.Prefix], macs[d.MAC] = true, true
		if d.Address.IsValid() && IsPublicNetwork(d.Address.Prefix) {
			fault(key+".address", "is %s, a large part of the internet: list the addresses of your devices", d.Address)
		}
		for _, limit := range []struct {
			name  string
			value int64
		}{
			{"connections", int64(d.Connections)}, {"messages_per_minute", int64(d.MessagesPerMinute)}, {"message_size", int64(d.MessageSize)},
			{"recipients_per_message", int64(d.RecipientsPerMessage)}, {"silent_after", int64(d.SilentAfter.Duration)},
		} {
			if limit.value < 0 {
				fault(key+"."+limit.name, "is less than zero: leave it out for the limit of every device")
			}
		}
		if size := d.MessageSize; size > 0 && (size < minMessageSize || size > s.Limits.MessageSize) {
			fault(key+".message_size", "is %s: write a size from %s to limits.message_size, which is %s", size, minMessageSize, s.Limits.MessageSize)
		}
		if d.RecipientsPerMessage > s.Limits.Recipients {
			fault(key+".recipients_per_message", "is %d, more than limits.recipients, which is %d: write a lower number, or raise limits.recipients", d.RecipientsPerMessage, s.Limits.Recipients)
		}
		if d.SpoolShare < 0 || d.SpoolShare > 100 {
			fault(key+".spool_share", "is %d: write a percentage from 1 to 100", d.SpoolShare)
		}
		s.checkDeviceSenders(key, d, fault)
	}
	for i, r := range s.Senders.Map {
		key := fmt.Sprintf("senders.map[%d]", i+1)
		if r.From == "" {
			fault(key+".from", "is empty: write what the device sends, like \"scanner@mfp.local\" or \"@mfp.local\"")
		}
		if r.To == "" {
			fault(key+".to", "is empty: write the sender that replaces the one in from")
		} else if !s.accepts(r.To) {
			fault(key+".to", "is in %s, which is not among senders.accepted_domains: add the domain there or use another sender", r.To.Domain())
		}
	}
	for _, choice := range []struct {
		key   string
		value Treatment
	}{{"senders.foreign", s.Senders.Foreign}, {"senders.empty", s.Senders.Empty}} {
		if choice.value == TreatmentReplace && s.DefaultSender() == "" {
			fault(choice.key, "is \"replace\", but there is no sender to use instead: set senders.default")
		}
	}
}

func (s Settings) checkDeviceSenders(key string, d Device, fault func(key, format string, args ...any)) {
	if d.Sender != "" && !s.accepts(d.Sender) {
		fault(key+".sender", "is in %s, which is not among senders.accepted_domains: add the domain there or use another sender", d.Sender.Domain())
	}
	if d.Sender != "" && len(d.Senders) > 0 && !slices.ContainsFunc(d.Senders, func(p SenderPattern) bool { return p.matches(string(d.Sender)) }) {
		fault(key+".sender", "is %s, which is not among its senders: add it there", d.Sender)
	}
	for _, p := range d.Senders {
		if domain := Address(p).Domain(); !s.accepts(Address("any@" + string(domain))) {
			fault(key+".senders", "lists %q, which is not in senders.accepted_domains: add the domain there or use another sender", string(p))
		}
	}
}

// accepts reports whether a sender is in an accepted domain; without accepted domains
// every one is.
func (s Settings) accepts(sender Address) bool {
	domains := s.AcceptedDomains()
	return len(domains) == 0 || slices.Contains(domains, sender.Domain())
}

// privateNetworks are those that no router of the internet forwards.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// IsPublicNetwork reports whether a network is larger than a site and not private as a
// whole: 10.0.0.0/7 is half private.
func IsPublicNetwork(network netip.Prefix) bool {
	const largest, largest6 = 16, 32
	bits := largest
	if network.Addr().Is6() {
		bits = largest6
	}
	return network.Bits() < bits && !slices.ContainsFunc(privateNetworks, func(private netip.Prefix) bool {
		return private.Bits() <= network.Bits() && private.Contains(network.Addr())
	})
}

// AddressOrNetwork is an address or a network, written as "192.168.10.20" or
// "192.168.10.0/24"; the zero value, written as "", is none.
type AddressOrNetwork struct{ netip.Prefix }

// UnmarshalText reads an address or a network.
func (c *AddressOrNetwork) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = AddressOrNetwork{}
		return nil
	}
	if address, err := parseAddress(string(text)); err == nil {
		address = address.Unmap()
		*c = AddressOrNetwork{netip.PrefixFrom(address, address.BitLen())}
		return nil
	}
	network, err := parsePrefix(string(text))
	if err != nil && !strings.Contains(string(text), "/") {
		return fmt.Errorf("%q is not an address: write it like \"192.168.10.20\", or a network like \"192.168.10.0/24\"", text)
	}
	*c = AddressOrNetwork{network}
	return err
}

// MarshalText writes the form that UnmarshalText reads.
func (c AddressOrNetwork) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String returns an address without its prefix length.
func (c AddressOrNetwork) String() string {
	switch {
	case !c.IsValid():
		return ""
	case c.IsSingleIP():
		return c.Addr().String()
	}
	return c.Prefix.String()
}

// MAC is a hardware address in lower case with colons, or empty.
type MAC string

// UnmarshalText reads a 48-bit address with colons, hyphens or dots.
func (m *MAC) UnmarshalText(text []byte) error {
	const octets = 6
	if len(text) == 0 {
		*m = ""
		return nil
	}
	octet, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "", ".", "").Replace(string(text)))
	if err != nil || len(octet) != octets {
		return fmt.Errorf("%q is not a MAC address: write it like \"00:1e:8f:12:34:56\"", text)
	}
	*m = MAC(strings.ReplaceAll(fmt.Sprintf("% x", octet), " ", ":"))
	return nil
}

// Tag is the detail of a subaddress (RFC 5233), or empty.
type Tag string

// UnmarshalText accepts what needs no quotes in an address.
func (t *Tag) UnmarshalText(text []byte) error {
	const longest = 32
	if len(text) > longest || len(text) > 0 && (!isDotString(string(text)) || strings.Contains(string(text), "+")) {
		return fmt.Errorf("%q is not a tag: write up to %d letters, digits, dots and hyphens", text, longest)
	}
	*t = Tag(text)
	return nil
}

// RecipientPattern is an address, "@domain" for all of a domain, or "own" for the
// accepted domains.
type RecipientPattern string

// RecipientsOwn stands for the accepted domains.
const RecipientsOwn RecipientPattern = "own"

// UnmarshalText checks the address or the domain.
func (p *RecipientPattern) UnmarshalText(text []byte) error {
	var pattern SenderPattern
	if string(text) == string(RecipientsOwn) {
		*p = RecipientsOwn
		return nil
	}
	if err := pattern.UnmarshalText(text); err != nil || len(text) == 0 {
		return fmt.Errorf("%q is not a recipient: write an address, \"@contoso.com\" for a domain, or \"own\" for senders.accepted_domains", text)
	}
	*p = RecipientPattern(pattern)
	return nil
}

// RewritePattern is what a device writes as its sender: an address, or "@domain" for
// all of a domain, in lower case.
type RewritePattern string

// UnmarshalText checks for one @ and no space.
func (p *RewritePattern) UnmarshalText(text []byte) error {
	_, domain, found := strings.Cut(string(text), "@")
	if !found || domain == "" || strings.ContainsAny(string(text), " <>,;\"") || strings.Contains(domain, "@") {
		return fmt.Errorf("%q is not a sender: write what the device sends, like \"scanner@mfp.local\", or \"@mfp.local\"", text)
	}
	*p = RewritePattern(strings.ToLower(string(text)))
	return nil
}

// DeviceTLS is what TLS a device may or must use.
type DeviceTLS string

// The values of DeviceTLS.
const (
	DeviceTLSLegacy   DeviceTLS = "legacy"
	DeviceTLSRequired DeviceTLS = "required"
)

// UnmarshalText accepts "legacy", "required" and the empty text.
func (t *DeviceTLS) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = ""
		return nil
	}
	return choose(t, text, "a value of tls", DeviceTLSLegacy, DeviceTLSRequired)
}

// DeviceAuth is whether a device may or must log in.
type DeviceAuth string

// The values of DeviceAuth.
const (
	DeviceAuthAny      DeviceAuth = "any"
	DeviceAuthRequired DeviceAuth = "required"
)

// UnmarshalText accepts "any", "required" and the empty text.
func (a *DeviceAuth) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = ""
		return nil
	}
	return choose(a, text, "a value of auth", DeviceAuthAny, DeviceAuthRequired)
}

// Treatment is what happens with a sender that cannot be used.
type Treatment string

// The treatments. The zero value is TreatmentReplace if there is a sender to use
// instead, else TreatmentKeep.
const (
	TreatmentReplace Treatment = "replace"
	TreatmentKeep    Treatment = "keep"
	TreatmentRefuse  Treatment = "refuse"
)

// UnmarshalText accepts the treatments and the empty text.
func (t *Treatment) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = ""
		return nil
	}
	return choose(t, text, "what to do with a sender", TreatmentReplace, TreatmentKeep, TreatmentRefuse)
}
