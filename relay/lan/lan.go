// Package lan receives mail from the site's devices: the SMTP listeners on the
// LAN (RFC 5321, with STARTTLS, SIZE, 8BITMIME, PIPELINING, CHUNKING,
// ENHANCEDSTATUSCODES and DSN).
//
// It knows SMTP, the limits of a client's session, and an Acceptor that takes
// responsibility for messages. It must not know files, upstreams, who may send or
// what users there are: it asks a Policy and Users.
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

	"sealpost/relay/device"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/policy"
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

// Policy decides who may send, as whom, and to whom: a [policy.Policy], as it is at
// the time of each call.
type Policy interface {
	// Client returns what is known of the client at an address.
	Client(address netip.Addr) policy.Client
	Access(c policy.Client) policy.Access
	Connect(c policy.Client) (policy.Access, policy.Verdict)
	LogIn(c policy.Client, u policy.User) (*policy.User, policy.Verdict)
	Sender(c policy.Client, sender envelope.Address) (envelope.Address, policy.Verdict)
	Recipient(c policy.Client, recipient envelope.Address) policy.Verdict
	From(c policy.Client, sender envelope.Address, authors []envelope.Address) (envelope.Address, policy.Verdict)
}

// Users are the local users, who can log in (RFC 4954). They may change at any time.
type Users interface {
	// Empty reports whether there are none; a login is then not offered.
	Empty() bool
	// Authenticate reports whether a user has this password. It takes some time.
	Authenticate(ctx context.Context, name, password string) bool
	// OffersCRAM reports whether a user can log in by CRAM-MD5.
	OffersCRAM() bool
	// AnswersChallenge reports whether the digest answers the challenge (RFC 2195).
	AnswersChallenge(ctx context.Context, name string, challenge, digest []byte) bool
	// User returns what a user may do, and false if there is no such user.
	User(name string) (policy.User, bool)
}

// Recorder records what devices do. It must not block.
type Recorder interface {
	Record(o device.Observation)
}

// Limits limits the resources of clients.
type Limits struct {
	MessageSize  int64         // octets of a message
	Recipients   int           // recipients of a message
	Line         int           // octets of a line of a header
	Connections  int           // concurrent connections
	PerClient    int           // concurrent connections from one address
	PerMinute    int           // messages from one address in a minute; 0 = no limit
	Transactions int           // messages in a session
	Session      time.Duration // maximum duration of a session
	Idle         time.Duration // maximum time without input
}

// maxCommandLine is the longest command line that is read, in octets; RFC 5321
// section 4.5.3.1.4 requires 512.
const maxCommandLine = 64 << 10

// Config is the configuration of a server.
type Config struct {
	Hostname  string      // in greetings and trace fields
	TLS       *tls.Config // with the box's own certificate
	LegacyTLS *tls.Config // the same for devices that support only old TLS
	Limits    Limits
	Users     Users
	Recorder  Recorder
}

// Server is the SMTP server for the LAN.
type Server struct {
	config   Config
	policy   Policy
	acceptor Acceptor
	journal  *journal.Journal

	smtp     *smtp.Server
	sessions *sessions
	logins   *loginLimiter
	context  context.Context // of messages being accepted
	cancel   context.CancelFunc
}

// New returns a server without listeners.
func New(config Config, p Policy, acceptor Acceptor, j *journal.Journal) *Server {
	s := &Server{config: config, policy: p, acceptor: acceptor, journal: j, logins: newLoginLimiter(time.Now)}
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
	defer s.closeAtEnd(l)()
	return s.smtp.Serve(s.admit(l, false, s.rejectWithReply))
}

// ServeTLS serves clients with implicit TLS on l until Shutdown (RFC 8314). A client
// that waits for a greeting gets it in clear text, with STARTTLS.
func (s *Server) ServeTLS(l net.Listener) error {
	s.journal.Listening(l.Addr().String(), "smtps")
	defer s.closeAtEnd(l)()
	return s.smtp.Serve(s.admit(l, true, closeConn))
}

// closeAtEnd closes a listener at the end of Shutdown: go-smtp closes only those that it
// serves when Shutdown begins.
func (s *Server) closeAtEnd(l net.Listener) (stop func() bool) {
	return context.AfterFunc(s.context, func() { _ = l.Close() })
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
