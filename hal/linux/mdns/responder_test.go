//go:build linux

package mdns

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func newResponder() *responder {
	r := &responder{name: func() string { return "sealpost-1234" }}
	r.set([]netip.Prefix{netip.MustParsePrefix("10.1.0.9/24"), netip.MustParsePrefix("fe80::9/64"), netip.MustParsePrefix("fd00::9/64")})
	return r
}

func question(t testing.TB, name string, kind dnsmessage.Type, class dnsmessage.Class) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("printer.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
		{Name: dnsmessage.MustNewName(name), Type: kind, Class: class},
	}}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func read(t *testing.T, packed []byte) (dnsmessage.Message, []string) {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, response := range m.Answers {
		switch body := response.Body.(type) {
		case *dnsmessage.AResource:
			addresses = append(addresses, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			addresses = append(addresses, netip.AddrFrom16(body.AAAA).String())
		}
	}
	return m, addresses
}

func TestResponder_AnswersWithAddressesOfTheRequestedType(t *testing.T) {
	for kind, want := range map[dnsmessage.Type][]string{
		dnsmessage.TypeA:    {"10.1.0.9"},
		dnsmessage.TypeAAAA: {"fe80::9", "fd00::9"},
		dnsmessage.TypeALL:  {"10.1.0.9", "fe80::9", "fd00::9"},
	} {
		packed, unicast := newResponder().respond(question(t, "SEALPOST-1234.Local.", kind, dnsmessage.ClassINET), port)
		m, addresses := read(t, packed)
		if !slices.Equal(addresses, want) || unicast {
			t.Errorf("%v: got %v, unicast %v, want %v by multicast", kind, addresses, unicast, want)
		}
		first := m.Answers[0].Header
		if m.ID != 0 || !m.Response || !m.Authoritative || len(m.Questions) != 0 || first.Class&topBit == 0 || first.TTL != lifetime {
			t.Errorf("got %+v, want a response by RFC 6762, sections 6 and 18", m)
		}
	}
}

func TestResponder_AnswersByUnicastOnRequest(t *testing.T) {
	packed, unicast := newResponder().respond(question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET|topBit), port)
	if packed == nil || !unicast {
		t.Errorf("got %x, unicast %v, want a unicast response", packed, unicast)
	}
}

func TestResponder_AnswersPlainDNSQueries(t *testing.T) {
	packed, unicast := newResponder().respond(question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET), 40000)
	m, _ := read(t, packed)
	first := m.Answers[0].Header
	if !unicast || m.ID != 77 || len(m.Questions) != 1 || first.Class != dnsmessage.ClassINET || first.TTL != legacyLifetime {
		t.Errorf("got %+v, unicast %v, want a unicast response for plain DNS", m, unicast)
	}
}

func TestResponder_IgnoresUnrelatedMessages(t *testing.T) {
	response := question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET)
	response[2] |= 0x80
	for name, message := range map[string][]byte{
		"another name":    question(t, "sealpost-9999.local.", dnsmessage.TypeA, dnsmessage.ClassINET),
		"another type":    question(t, "sealpost-1234.local.", dnsmessage.TypeMX, dnsmessage.ClassINET),
		"another class":   question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassCHAOS),
		"a response":      response,
		"nothing":         nil,
		"a truncated one": question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET)[:30],
	} {
		if response, _ := newResponder().respond(message, port); response != nil {
			t.Errorf("%s: got response %x", name, response)
		}
	}
	withoutAddress := newResponder()
	withoutAddress.set(nil)
	if response, _ := withoutAddress.respond(question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET), port); response != nil {
		t.Errorf("without an address: got response %x", response)
	}
	if withoutAddress.announcement() != nil {
		t.Error("without an address: got an announcement")
	}
}

func TestResponderSocket_LimitsMulticastResponses(t *testing.T) {
	s := &responderSocket{}
	if !s.mayMulticast() || s.mayMulticast() {
		t.Error("got two multicasts at once, or none")
	}
	s.sent = time.Now().Add(-minInterval)
	if !s.mayMulticast() {
		t.Error("got no further multicast after the interval")
	}
}

func FuzzRespond(f *testing.F) {
	f.Add(question(f, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET), port)
	f.Add(question(f, "sealpost-1234.local.", dnsmessage.TypeALL, dnsmessage.ClassINET|topBit), 40000)
	f.Add(question(f, "printer.local.", dnsmessage.TypeA, dnsmessage.ClassINET), port)
	f.Fuzz(func(t *testing.T, message []byte, from int) {
		response, unicast := newResponder().respond(message, from)
		if response == nil {
			return
		}
		m, addresses := read(t, response)
		if len(addresses) == 0 || !m.Response || len(response) > 512 || from != port && !unicast {
			t.Errorf("got %+v, unicast %v", m, unicast)
		}
	})
}

func TestResponder_AnswersForANewHostname(t *testing.T) {
	r, name := newResponder(), "sealpost-1234"
	r.name = func() string { return name }
	name = "mail-relay"
	if response, _ := r.respond(question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET), port); response != nil {
		t.Error("got a response for the old name, want none")
	}
	response, _ := r.respond(question(t, "mail-relay.local.", dnsmessage.TypeA, dnsmessage.ClassINET), port)
	if m, addresses := read(t, response); len(addresses) == 0 || m.Answers[0].Header.Name.String() != "mail-relay.local." {
		t.Errorf("got %+v", m)
	}
}
