// Package lan receives mail from the site's devices: the SMTP listeners on the
// LAN (RFC 5321, with STARTTLS, SIZE, 8BITMIME, PIPELINING, CHUNKING,
// ENHANCEDSTATUSCODES and DSN).
//
// It knows SMTP, the limits of a client's session, and an Acceptor that takes
// responsibility for messages. It must not know files, upstreams or who may
// send: it asks a Policy.
package lan

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
)

// Acceptor takes responsibility for messages.
type Acceptor interface {
	// Admit checks whether a message of that size may be sent; octets is 0 if
	// the client gave no SIZE. A reply that is not positive is the client's.
	Admit(e envelope.Envelope, octets int64) reply.Reply
	// Begin prepares for a message's content.
	Begin(e envelope.Envelope, octets int64) Incoming
}

// Incoming is a message being received. End it with Accept or Abandon.
type Incoming interface {
	// Write adds content. A *reply.Error is the client's reply.
	io.Writer
	// Accept takes responsibility for the complete message and returns the
	// client's reply. 2yz means that the message is delivered or durable.
	Accept(ctx context.Context, e envelope.Envelope) reply.Reply
	Abandon()
}

// Policy decides which clients may relay and under which sender.
type Policy interface {
	MayRelay(client netip.Addr) bool
	Sender(clientSender envelope.Address) envelope.Address
}

// Limits limits the resources of clients.
type Limits struct {
	MessageSize  int64         // octets of a message
	Recipients   int           // recipients of a message
	Line         int           // octets of a line of a header
	Connections  int           // concurrent connections
	PerClient    int           // concurrent connections from one address
	Transactions int           // messages in a session
	Session      time.Duration // maximum duration of a session
	Idle         time.Duration // maximum time without input
}

// maxCommandLine is the longest command line that is read, in octets; RFC 5321
// section 4.5.3.1.4 requires 512.
const maxCommandLine = 64 << 10

// Config is the configuration of a server.
type Config struct {
	Hostname string      // in greetings and trace fields
	TLS      *tls.Config // with the box's own certificate
	Limits   Limits
}

// Server is the SMTP server for the LAN.
type Server struct {
	config   Config
	policy   Policy
	acceptor Acceptor
	journal  *journal.Journal

	smtp     *smtp.Server
	sessions *sessions
	context  context.Context // of messages being accepted
	cancel   context.CancelFunc
}

// New returns a server without listeners.
func New(config Config, policy Policy, acceptor Acceptor, j *journal.Journal) *Server {
	s := &Server{config: config, policy: policy, acceptor: acceptor, journal: j}
	s.sessions = newSessions(&s.config, j)
	s.context, s.cancel = context.WithCancel(context.Background())
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.Domain = config.Hostname
	s.smtp.TLSConfig = config.TLS // offers STARTTLS, which clientConn carries out
	s.smtp.MaxMessageBytes = config.Limits.MessageSize
	s.smtp.MaxRecipients = config.Limits.Recipients
	s.smtp.MaxLineLength = maxCommandLine // the normaliser limits the lines of headers
	s.smtp.EnableDSN = true               // offers it; dsn.go reads the parameters
	s.smtp.ErrorLog = faultLog{j}
	return s
}

// Serve serves SMTP clients on l until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	s.journal.Listening(l.Addr().String(), "smtp")
	return s.smtp.Serve(s.admit(l, s.rejectWithReply, s.useTLSIfFirst))
}

// ServeTLS serves clients with implicit TLS on l until Shutdown (RFC 8314).
func (s *Server) ServeTLS(l net.Listener) error {
	s.journal.Listening(l.Addr().String(), "smtps")
	return s.smtp.Serve(s.admit(l, closeConn, (*clientConn).useTLS))
}

// Shutdown closes the listeners and idle sessions, and lets active messages
// finish until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.sessions.drain()
	err := s.smtp.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		s.cancel()
		s.sessions.closeAll()
		return fmt.Errorf("messages were still being received: %w", err)
	}
	s.cancel()
	return err
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{server: s, conn: c.Conn().(*clientConn), smtp: c}, nil
}

// faultLog journals go-smtp's log messages.
type faultLog struct{ journal *journal.Journal }

func (f faultLog) Printf(format string, v ...any) {
	f.journal.ListenerFault(fmt.Sprintf(format, v...))
}

func (f faultLog) Println(v ...any) {
	f.journal.ListenerFault(strings.TrimSpace(fmt.Sprintln(v...)))
}
