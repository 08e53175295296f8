// Package lan takes mail from the site's devices: the SMTP listeners on the
// LAN side (RFC 5321, with STARTTLS, SIZE, 8BITMIME, PIPELINING, CHUNKING and
// ENHANCEDSTATUSCODES).
//
// It knows SMTP, the bounds of a client's session, and an Acceptor that takes
// a message over. It must not know files, upstreams or who may send: for that
// it asks a Policy.
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

// Acceptor takes messages over.
type Acceptor interface {
	// Admit tells whether a message of so many octets may come, 0 where the
	// client did not say. An answer that is not positive is the client's.
	Admit(e envelope.Envelope, octets int64) reply.Reply
	// Begin makes ready for a message's content.
	Begin(e envelope.Envelope, octets int64) Incoming
}

// Incoming is a message that is being received. Accept or Abandon ends it.
type Incoming interface {
	// Write takes content. A *reply.Error is the client's answer.
	io.Writer
	// Accept takes over the message, now complete. Its answer is the client's:
	// a 2yz means that the message is safe.
	Accept(ctx context.Context, e envelope.Envelope) reply.Reply
	Abandon()
}

// Policy judges clients and senders.
type Policy interface {
	MayRelay(client netip.Addr) bool
	Sender(given envelope.Address) envelope.Address
}

// Limits bound what clients may take of the box.
type Limits struct {
	MessageSize  int64         // octets of a message
	Recipients   int           // of a message
	Line         int           // octets of a line of a message
	Connections  int           // open at once
	PerClient    int           // of those, from one address
	Transactions int           // messages in a session
	Session      time.Duration // the longest session
	Idle         time.Duration // the longest silence of a client
}

// commandLine is the longest command line that is read at all, in octets; RFC
// 5321 section 4.5.3.1.4 asks for 512.
const commandLine = 64 << 10

// Config is what a server needs to know.
type Config struct {
	Hostname string      // our name in greetings and trace fields
	TLS      *tls.Config // the box's own certificate
	Limits   Limits
}

// Server listens for clients.
type Server struct {
	config   Config
	policy   Policy
	acceptor Acceptor
	journal  *journal.Journal

	smtp     *smtp.Server
	sessions *sessions
	context  context.Context // of the messages that clients are waiting for
	cancel   context.CancelFunc
}

// New gives a server that listens on nothing yet.
func New(config Config, policy Policy, acceptor Acceptor, j *journal.Journal) *Server {
	s := &Server{config: config, policy: policy, acceptor: acceptor, journal: j,
		sessions: newSessions(config.Limits, j)}
	s.context, s.cancel = context.WithCancel(context.Background())
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.Domain = config.Hostname
	s.smtp.TLSConfig = config.TLS
	s.smtp.MaxMessageBytes = config.Limits.MessageSize
	s.smtp.MaxRecipients = config.Limits.Recipients
	// The limit on a message's lines is the normaliser's: go-smtp hangs up on a
	// longer line, often before the client has read why.
	s.smtp.MaxLineLength = max(2*config.Limits.Line, commandLine)
	s.smtp.ErrorLog = faultLog{j}
	return s
}

// Serve takes SMTP clients from l until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	s.journal.Listening(l.Addr().String(), "smtp")
	return s.smtp.Serve(s.admit(l, s.rejectWithReply, s.wrapAsBefore))
}

// ServeTLS takes clients that begin with TLS from l until Shutdown (RFC 8314).
func (s *Server) ServeTLS(l net.Listener) error {
	s.journal.Listening(l.Addr().String(), "smtps")
	return s.smtp.Serve(s.admit(l, hangUp, s.inTLS))
}

// Shutdown closes the listeners and the idle sessions, lets messages under way
// finish until ctx ends, and then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.sessions.drain()
	err := s.smtp.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		s.cancel()
		s.sessions.closeAll()
		return fmt.Errorf("messages were still under way: %w", err)
	}
	s.cancel()
	return err
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn := underlying(c.Conn())
	_, secure := c.TLSConnectionState()
	return &session{server: s, conn: conn, smtp: c, secure: secure}, nil
}

// faultLog gives the journal what go-smtp would print.
type faultLog struct{ journal *journal.Journal }

func (f faultLog) Printf(format string, v ...any) {
	f.journal.ListenerFault(fmt.Sprintf(format, v...))
}

func (f faultLog) Println(v ...any) {
	f.journal.ListenerFault(strings.TrimSpace(fmt.Sprintln(v...)))
}
