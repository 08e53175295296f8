package settings

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a duration, written as "5s", "10m", "1h30m" or "5d".
type Duration struct{ time.Duration }

func hours(n int) Duration   { return Duration{time.Duration(n) * time.Hour} }
func minutes(n int) Duration { return Duration{time.Duration(n) * time.Minute} }
func seconds(n int) Duration { return Duration{time.Duration(n) * time.Second} }

// UnmarshalText reads the form of [time.ParseDuration], or whole days.
func (d *Duration) UnmarshalText(text []byte) error {
	if number, ok := strings.CutSuffix(string(text), "d"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			*d = hours(24 * int(n))
			return nil
		}
	}
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it like \"5s\", \"10m\", \"1h\" or \"5d\"", text)
	}
	d.Duration = parsed
	return nil
}

// MarshalText writes the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written as "512MiB" (binary) or "500MB" (decimal).
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1}, {"", 1},
}

// UnmarshalText reads a whole number with a unit; without one it counts bytes.
func (s *Size) UnmarshalText(text []byte) error {
	rest := strings.TrimLeft(string(text), "0123456789")
	number, unit := string(text[:len(text)-len(rest)]), strings.TrimSpace(rest)
	for _, u := range sizeUnits {
		if unit != u.name || number == "" {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > math.MaxInt64/u.bytes {
			return fmt.Errorf("%q is too large: write a smaller size", text)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size: write it like \"512MiB\" or \"500MB\"", text)
}

// MarshalText writes the form that UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size in the largest unit that divides it evenly.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if int64(s) >= u.bytes && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Listen is a TCP address to listen on, "[ip]:port"; without an ip it means
// every interface.
type Listen string

// UnmarshalText checks the ip and the port.
func (l *Listen) UnmarshalText(text []byte) error {
	whole := string(text)
	if strings.HasPrefix(whole, ":") {
		whole = "[::]" + whole
	}
	if _, err := netip.ParseAddrPort(whole); err != nil {
		return fmt.Errorf("%q is not an address to listen on: write it like \":25\" or \"192.168.10.5:25\"", text)
	}
	*l = Listen(text)
	return nil
}

// parsePrefix rejects what is probably a mistake.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%q has no prefix length: write \"%s/%d\" for this one address", text, addr, addr.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a network: write it like \"192.168.10.0/24\"", text)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q is an IPv4-mapped IPv6 address: write it like \"192.168.10.0/24\"", text)
	case p.Bits() == 0:
		return p, fmt.Errorf("%q would allow the whole internet to send: name the site's own networks", text)
	case p != p.Masked():
		return p, fmt.Errorf("%q is an address within a network: write \"%s\" for the network", text, p.Masked())
	}
	return p, nil
}

// parseAddress reads an address; "" is none.
func parseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not a host address: write it like \"192.168.10.1\"", text)
	}
	return a, nil
}

func parseNameServer(text string) (netip.AddrPort, error) {
	server, err := netip.ParseAddrPort(text)
	if err != nil || server.Port() == 0 {
		return server, fmt.Errorf("%q is not a name server: write it like \"192.168.10.1:53\"", text)
	}
	return server, nil
}

// TPMAddress is the address of the TPM: "/dev/tpmrm0", "unix:/path" or
// "tcp:host:port".
type TPMAddress string

// UnmarshalText checks the form, not whether a TPM exists.
func (a *TPMAddress) UnmarshalText(text []byte) error {
	path := strings.TrimPrefix(string(text), "unix:")
	if !isTCP(string(text)) && (!strings.HasPrefix(path, "/") || len(path) < 2) {
		return fmt.Errorf("%q is not the address of a TPM: write \"/dev/tpmrm0\", \"unix:/path\" or \"tcp:host:port\"", text)
	}
	*a = TPMAddress(text)
	return nil
}

func isTCP(address string) bool {
	rest, ok := strings.CutPrefix(address, "tcp:")
	colon := strings.LastIndexByte(rest, ':')
	if !ok || colon < 1 {
		return false
	}
	port, err := strconv.ParseUint(rest[colon+1:], 10, 16)
	return err == nil && port > 0
}
