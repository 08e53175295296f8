//go:build linux

package mdns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	lifetime       = 120 // of an address record in seconds (RFC 6762, section 10)
	legacyLifetime = 10  // for a resolver that speaks plain DNS (section 6.7)
	maxQuestions   = 32
	// topBit of a class requests a unicast response in a question (QU, section 5.4), and
	// is the cache-flush bit in an answer (section 10.2).
	topBit = 1 << 15
)

// responder creates the messages. It is safe for concurrent use.
type responder struct {
	name func() string // without the domain; it may change

	mu        sync.Mutex
	addresses []netip.Addr
	subnets   []netip.Prefix // of the addresses
	unicasts  unicastLimit
}

func (r *responder) host() string { return r.name() + ".local." }

func (r *responder) set(prefixes []netip.Prefix) {
	addresses := make([]netip.Addr, 0, len(prefixes))
	subnets := make([]netip.Prefix, 0, len(prefixes))
	for _, prefix := range prefixes {
		address := prefix.Addr().WithZone("")
		addresses = append(addresses, address)
		subnets = append(subnets, netip.PrefixFrom(address, prefix.Bits()))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses, r.subnets = addresses, subnets
}

// onLink reports whether a source is on the box's link (RFC 6762, section 11). The RFC
// accepts every message to the group; but its source may be forged, so that the response
// would go to a victim elsewhere.
func (r *responder) onLink(source netip.Addr) bool {
	if source.IsLinkLocalUnicast() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.subnets, func(subnet netip.Prefix) bool { return subnet.Contains(source) })
}

// mayUnicast reports whether a unicast response may be sent to a source now, and
// counts it.
func (r *responder) mayUnicast(to netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unicasts.allow(to, time.Now())
}

// unicastLimit counts the unicast responses of one second, for which the RFC has no
// limit. A resolver needs one or two; the source of a flood may be forged.
type unicastLimit struct {
	begin   time.Time
	total   int
	sources map[netip.Addr]int // at most maxUnicasts
}

const (
	maxUnicasts          = 20 // in a second
	maxUnicastsPerSource = 5
)

func (l *unicastLimit) allow(source netip.Addr, now time.Time) bool {
	if now.Sub(l.begin) >= time.Second {
		*l = unicastLimit{begin: now, sources: map[netip.Addr]int{}}
	}
	if l.total >= maxUnicasts || l.sources[source] >= maxUnicastsPerSource {
		return false
	}
	l.total++
	l.sources[source]++
	return true
}

// respond returns the response to a message from a port, nil for none, and whether
// it is sent by unicast.
func (r *responder) respond(message []byte, from int) (response []byte, unicast bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil || header.Response || header.OpCode != 0 {
		return nil, false
	}
	for range maxQuestions {
		question, err := parser.Question()
		if err != nil {
			return nil, false
		}
		unicast = question.Class&topBit != 0
		question.Class &^= topBit
		if !r.matches(question) {
			continue
		}
		if from != port {
			header = dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true}
			return r.message(header, question.Type, legacyLifetime, &question), true
		}
		header = dnsmessage.Header{Response: true, Authoritative: true}
		return r.message(header, question.Type, lifetime, nil), unicast
	}
	return nil, false
}

// matches reports whether a question is for the box's addresses.
func (r *responder) matches(q dnsmessage.Question) bool {
	class := q.Class == dnsmessage.ClassINET || q.Class == dnsmessage.ClassANY
	kind := q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA || q.Type == dnsmessage.TypeALL
	return class && kind && strings.EqualFold(q.Name.String(), r.host())
}

// announcement returns all addresses for an unsolicited response, nil if there are none.
func (r *responder) announcement() []byte {
	return r.message(dnsmessage.Header{Response: true, Authoritative: true}, dnsmessage.TypeALL, lifetime, nil)
}

// message returns a response with the addresses of type qtype, nil if there are
// none. A response to a plain DNS resolver repeats its question and has no
// cache-flush bit.
func (r *responder) message(header dnsmessage.Header, qtype dnsmessage.Type, ttl uint32, question *dnsmessage.Question) []byte {
	name, err := dnsmessage.NewName(r.host())
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Header: header}
	class := dnsmessage.ClassINET | topBit
	if question != nil {
		class = dnsmessage.ClassINET
		m.Questions = []dnsmessage.Question{*question}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, address := range r.addresses {
		kind, body := record(address)
		if qtype == kind || qtype == dnsmessage.TypeALL {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: name, Type: kind, Class: class, TTL: ttl}, Body: body})
		}
	}
	if len(m.Answers) == 0 {
		return nil
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func record(address netip.Addr) (dnsmessage.Type, dnsmessage.ResourceBody) {
	if address.Is4() {
		return dnsmessage.TypeA, &dnsmessage.AResource{A: address.As4()}
	}
	return dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: address.As16()}
}
