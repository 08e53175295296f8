//go:build linux

package network

import (
	"context"
	"hash/fnv"
	"net"
	"net/netip"
)

// linkLocalAttempts is how many addresses are tried (MAX_CONFLICTS of RFC 3927).
const linkLocalAttempts = 10

// linkLocal assigns the port an unused address of 169.254/16
// (RFC 3927) and returns it.
func (s *session) linkLocal(ctx context.Context) (netip.Prefix, error) {
	for attempt := range linkLocalAttempts {
		candidate := linkLocalCandidate(s.port.mac, attempt)
		owner, err := s.port.owner(ctx, netip.IPv4Unspecified(), candidate.Addr())
		if err != nil {
			return netip.Prefix{}, err
		}
		if owner == nil {
			return candidate, s.port.configure(candidate)
		}
	}
	return netip.Prefix{}, nil
}

// linkLocalCandidate returns the same addresses for the same box at each start,
// from 169.254.1.0 to 169.254.254.255 (RFC 3927, section 2.1).
func linkLocalCandidate(mac net.HardwareAddr, attempt int) netip.Prefix {
	hash := fnv.New32a()
	_, _ = hash.Write(append([]byte{byte(attempt)}, mac...))
	const usable = 254 * 256
	n := hash.Sum32() % usable
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, byte(1 + n>>8), byte(n)}), 16)
}
