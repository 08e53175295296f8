package parts

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer answers from a table, and records the names in queries. The real one,
// [Unbound], takes a second to start and reads its zones only then.
type NameServer struct {
	address string
	mu      sync.Mutex
	records map[string]map[dnsmessage.Type]dnsmessage.ResourceBody
	asked   []string
}

// StartNameServer starts a name server without records on a free UDP port of 127.0.0.1,
// until the test ends.
func StartNameServer(t testing.TB) *NameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &NameServer{address: conn.LocalAddr().String(), records: make(map[string]map[dnsmessage.Type]dnsmessage.ResourceBody)}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		s.serve(conn)
	}()
	return s
}

// Address is where it listens, such as "127.0.0.1:5353".
func (s *NameServer) Address() string { return s.address }

// Add adds a record, or replaces that of the same name and type. The name ends in a dot.
func (s *NameServer) Add(name string, kind dnsmessage.Type, body dnsmessage.ResourceBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[name] == nil {
		s.records[name] = make(map[dnsmessage.Type]dnsmessage.ResourceBody)
	}
	s.records[name][kind] = body
}

// Asked returns the names of all queries so far, without their last dots.
func (s *NameServer) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// serve replies to queries until conn is closed.
func (s *NameServer) serve(conn net.PacketConn) {
	for buffer := make([]byte, 512); ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) == 0 {
			continue
		}
		response, err := s.respond(m)
		if err != nil {
			panic(fmt.Sprintf("a record of the test does not fit into a message: %v", err))
		}
		_, _ = conn.WriteTo(response, from)
	}
}

func (s *NameServer) respond(m dnsmessage.Message) ([]byte, error) {
	question := m.Questions[0]
	m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, strings.TrimSuffix(question.Name.String(), "."))
	if bodies, found := s.records[question.Name.String()]; found {
		m.RCode = dnsmessage.RCodeSuccess
		if body, found := bodies[question.Type]; found {
			header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, Type: question.Type, TTL: 60}
			m.Answers = []dnsmessage.Resource{{Header: header, Body: body}}
		}
	}
	return m.Pack()
}
