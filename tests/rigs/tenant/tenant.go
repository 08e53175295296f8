// Package tenant simulates the Exchange Online side of a connector or of message
// submission: a small SMTP server that either requires a client certificate and
// applies Microsoft's relay rule of 2023-11-01, or requires an OAuth login and
// applies the limits of a mailbox. A script can inject any fault.
//
// It knows the documented replies of Exchange Online. It is used only where the
// real service cannot run; Postfix is tested separately.
package tenant

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync"
	"time"
)

// Message is a message that the tenant accepted.
type Message struct {
	At         time.Time // when its content had arrived
	Sender     string
	User       string // the mailbox that logged in
	Recipients []string
	Content    []byte
	Client     *x509.Certificate // verified; nil if the client sent none
	TLS        tls.ConnectionState
	Resumed    bool
}

// Special replies that a Script may return.
const (
	HangUp = "\x00hang up" // close the connection, after or instead of a reply
	Stall  = "\x00stall"   // never reply
	Take   = "\x00take"    // to CONTENT: accept the message, and hang up without a reply
)

// Script returns the reply to a verb; "" means the default reply. Verbs are the
// SMTP commands, "CONNECT" for the greeting, "CONTENT" for the end of a message
// and "MIDWAY" for the middle of its content.
type Script func(verb, argument string) string

// Config configures a tenant.
type Config struct {
	Address         string       // to listen on; empty means a free port of 127.0.0.1
	Listener        net.Listener // used instead of Address by tests with their own network
	Certificate     tls.Certificate
	ClientCAs       *x509.CertPool
	AcceptedDomains []string
	Connector       string // TlsSenderCertificateName; a leading "*." is a wildcard
	Extensions      []string
	NoSTARTTLS      bool
	TLSFirst        bool        // as on port 465
	Submission      *Submission // instead of a connector
	MinTLS, MaxTLS  uint16
	Script          Script
}

// Extensions are the relevant SMTP extensions of Exchange Online.
var Extensions = []string{"SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "BINARYMIME", "CHUNKING"}

// Tenant is a running simulated tenant.
type Tenant struct {
	listener net.Listener
	closed   chan struct{}
	once     sync.Once // of closing closed
	running  sync.WaitGroup

	mu           sync.Mutex
	config       Config
	tls          *tls.Config
	script       Script
	messages     []Message
	connections  map[net.Conn]*session
	opened       int
	open         int // sessions that have not ended
	mostOpen     int
	plaintext    strings.Builder
	logins       []Login
	limitReplies []string
	mailboxes    map[string]*mailbox
}

// Start starts a tenant that runs until Close.
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
	t.Reconfigure(config)
	t.running.Go(t.accept)
	return t, nil
}

// Reconfigure replaces the configuration, except for the address. It drops all
// connections and TLS sessions, as a replaced server would.
func (t *Tenant) Reconfigure(config Config) {
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

// Address returns the address on which the tenant listens.
func (t *Tenant) Address() *net.TCPAddr { return t.listener.Addr().(*net.TCPAddr) }

// SetScript replaces the script.
func (t *Tenant) SetScript(script Script) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.script = script
}

// Restart replaces the script like a graceful server restart: a session in a
// transaction finishes it under the old script, and then its connection closes.
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

// Messages returns the messages accepted so far.
func (t *Tenant) Messages() []Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Message(nil), t.messages...)
}

// Plaintext returns everything that clients sent outside TLS.
func (t *Tenant) Plaintext() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.plaintext.String()
}

// Connections returns the number of connections opened so far.
func (t *Tenant) Connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened
}

// MostOpen returns the highest number of concurrent sessions.
func (t *Tenant) MostOpen() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mostOpen
}

// DropConnections closes all open connections.
func (t *Tenant) DropConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.connections {
		_ = conn.Close()
	}
}

// Close stops the tenant and waits until its connections are closed. Another call does
// nothing.
func (t *Tenant) Close() {
	t.once.Do(func() { close(t.closed) })
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
		t.connections[conn] = nil // until serve creates its session
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

// stall waits until the tenant closes, for at most a minute.
func (t *Tenant) stall() {
	select {
	case <-t.closed:
	case <-time.After(time.Minute):
	}
}
