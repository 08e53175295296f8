// Package tenant is a stand-in for Exchange Online's side of a connector, or of
// message submission: a small SMTP server that demands a client certificate and
// keeps the relay rule (Microsoft's of 2023-11-01), or demands a login by OAuth
// and keeps a mailbox's limits, and can be told to misbehave in any way.
//
// It knows what Exchange Online is documented to answer. It stands in only
// where the real service cannot run; real Postfix has tests of its own.
package tenant

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync"
	"time"
)

// Message is one that the tenant took.
type Message struct {
	Sender     string
	User       string // the mailbox that had logged in
	Recipients []string
	Content    []byte
	Client     *x509.Certificate // as shown and verified; nil if none was
	TLS        tls.ConnectionState
	Resumed    bool
}

// Special answers a Script may give.
const (
	HangUp = "\x00hang up" // close the connection, behind an answer or in its place
	Stall  = "\x00stall"   // never answer
)

// Script decides the answer to a verb: "" is the tenant's own. Verbs are those
// of SMTP, "CONNECT" for the greeting, "CONTENT" for the end of a message and
// "MIDWAY" for the middle of its content.
type Script func(verb, argument string) string

// Config is what a tenant is like.
type Config struct {
	Address         string       // to listen on; empty means a free port of 127.0.0.1
	Listener        net.Listener // in place of Address, where a test has its own network
	Certificate     tls.Certificate
	ClientCAs       *x509.CertPool
	AcceptedDomains []string
	Connector       string // TlsSenderCertificateName; a leading "*." is a wildcard
	Extensions      []string
	NoSTARTTLS      bool
	TLSFirst        bool        // as on port 465
	Submission      *Submission // in place of a connector
	MinTLS, MaxTLS  uint16
	Script          Script
}

// Extensions that Exchange Online offers, as far as they matter.
var Extensions = []string{"SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "BINARYMIME", "CHUNKING"}

// Tenant is a running stand-in.
type Tenant struct {
	listener net.Listener
	closed   chan struct{}
	running  sync.WaitGroup

	mu          sync.Mutex
	config      Config
	tls         *tls.Config
	script      Script
	messages    []Message
	connections map[net.Conn]*session
	opened      int
	open        int // sessions that have not ended
	mostOpen    int
	clear       strings.Builder
	logins      []Login
	denials     []string
	mailboxes   map[string]*mailbox
}

// Start makes a tenant that runs until Close.
func Start(config Config) (*Tenant, error) {
	if config.Address == "" {
		config.Address = "127.0.0.1:0"
	}
	listener := config.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", config.Address); err != nil {
			return nil, err
		}
	}
	t := &Tenant{
		listener:    listener,
		closed:      make(chan struct{}),
		connections: make(map[net.Conn]*session),
		mailboxes:   make(map[string]*mailbox),
	}
	t.Become(config)
	t.running.Go(t.accept)
	return t, nil
}

// Become puts another server in this one's place: it drops the connections,
// knows no TLS session, and is what config says but for the address.
func (t *Tenant) Become(config Config) {
	if config.Extensions == nil {
		config.Extensions = Extensions
	}
	if config.MinTLS == 0 {
		config.MinTLS = tls.VersionTLS12
	}
	t.mu.Lock()
	t.config, t.script = config, config.Script
	t.tls = &tls.Config{
		Certificates: []tls.Certificate{config.Certificate},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    config.ClientCAs,
		MinVersion:   config.MinTLS,
		MaxVersion:   config.MaxTLS,
	}
	t.mu.Unlock()
	t.DropConnections()
}

// Address is where the tenant listens.
func (t *Tenant) Address() *net.TCPAddr { return t.listener.Addr().(*net.TCPAddr) }

// Behave changes the script.
func (t *Tenant) Behave(script Script) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.script = script
}

// Restart changes the script as a server does that restarts in good order: a
// session amid a transaction ends it under the script of before, and then the
// connection closes.
func (t *Tenant) Restart(script Script) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn, s := range t.connections {
		if s == nil {
			continue
		}
		if !s.leaving {
			s.leaving, s.script = true, t.script
		}
		if s.idle {
			_ = conn.Close()
		}
	}
	t.script = script
}

// Messages gives what was taken so far.
func (t *Tenant) Messages() []Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Message(nil), t.messages...)
}

// InClear is everything that clients said outside TLS.
func (t *Tenant) InClear() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clear.String()
}

// Connections is how many connections were opened so far.
func (t *Tenant) Connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened
}

// MostOpen is how many sessions were open at once, at most.
func (t *Tenant) MostOpen() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mostOpen
}

// DropConnections closes what is open, as a server that restarts does.
func (t *Tenant) DropConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.connections {
		_ = conn.Close()
	}
}

// Close ends the tenant and waits for its connections to be gone.
func (t *Tenant) Close() {
	close(t.closed)
	_ = t.listener.Close()
	t.DropConnections()
	t.running.Wait()
}

func (t *Tenant) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.mu.Lock()
		t.connections[conn] = nil // until it is served
		t.opened++
		t.open++
		t.mostOpen = max(t.mostOpen, t.open)
		t.mu.Unlock()
		t.running.Go(func() {
			t.serve(conn)
			_ = conn.Close()
			t.mu.Lock()
			delete(t.connections, conn)
			t.mu.Unlock()
		})
	}
}

// stall waits until the tenant closes or a client has had more than enough.
func (t *Tenant) stall() {
	select {
	case <-t.closed:
	case <-time.After(time.Minute):
	}
}
