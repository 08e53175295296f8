package lan

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// mostHops is where a message counts as looping (RFC 5321 section 6.3).
const mostHops = 50

// session is one client's session from EHLO on; its methods are SMTP's verbs.
type session struct {
	server       *Server
	conn         *clientConn
	smtp         *smtp.Conn
	secure       bool
	transactions int

	// With BDAT, go-smtp runs Data beside the other verbs.
	mu sync.Mutex
	transaction
	aborted atomic.Bool // a transfer by BDAT was given up
}

// transaction is what was said of the message to come.
type transaction struct {
	given    envelope.Address // the sender as the client gave it
	octets   int64            // of the content as announced; 0 is not at all
	envelope envelope.Envelope
}

// Mail begins a transaction.
func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.transactions++
	if s.transactions > s.server.config.Limits.Transactions {
		s.conn.endAfterReply()
		return refusal(reply.New(421, 7, 0, "too many messages in one session, connect again"))
	}
	if s.aborted.Load() {
		s.conn.endAfterReply()
		return refusal(reply.New(421, 3, 0, "the transfer before was given up, connect again"))
	}
	var sender envelope.Address
	if from != "" {
		var err error
		if sender, err = envelope.ParseAddress(from); err != nil {
			return refusal(reply.New(553, 1, 7, "the sender cannot be relayed: %v", err))
		}
	}
	e := envelope.Envelope{
		ID:       rand.Text()[:12],
		Client:   s.conn.client,
		Hello:    s.smtp.Hostname(),
		Protocol: s.protocol(),
		Sender:   s.server.policy.Sender(sender),
	}
	if answer := s.server.acceptor.Admit(e, options.Size); !answer.Positive() {
		s.server.journal.NotReceived(e.ID, e.Client, answer)
		return refusal(answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transaction = transaction{given: sender, octets: options.Size, envelope: e}
	return nil
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	recipient, err := envelope.ParseAddress(to)
	if err != nil {
		return refusal(reply.New(553, 1, 3, "the recipient cannot be relayed: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope.Recipients = append(s.envelope.Recipients, recipient)
	return nil
}

// Data takes the message and keeps the client waiting until it is safe.
func (s *session) Data(r io.Reader) error {
	s.conn.busy.Store(true)
	defer s.conn.busy.Store(false)
	s.mu.Lock()
	given, e, octets := s.given, s.envelope, s.octets
	s.mu.Unlock()
	e.Received = time.Now()
	content := s.server.acceptor.Begin(e, octets)
	from, chunked := s.source(r)
	answer, ok := s.receive(&e, content, from)
	if chunked {
		answer, ok = s.afterChunks(answer, ok)
	}
	if !ok {
		content.Abandon()
		s.server.journal.NotReceived(e.ID, e.Client, answer)
		return refusal(answer)
	}
	s.conn.messages.Add(1)
	s.server.journal.Received(e)
	if given != e.Sender {
		s.server.journal.SenderReplaced(e.ID, given, e.Sender)
	}
	return refusal(content.Accept(s.server.context, e))
}

// source is where the content comes from: by DATA in clear text our own reader
// takes it off the connection.
func (s *session) source(r io.Reader) (from source, chunked bool) {
	if _, chunked = r.(*io.PipeReader); !chunked && !s.secure {
		return s.conn.content(s.server.config.Limits.MessageSize), false
	}
	return passed(r), chunked
}

// afterChunks makes up for what go-smtp does with BDAT: a chunk that ends early
// passes for a whole one, and the end of a transfer that was given up may pass
// for the answer to the next message, so there must be no next one.
func (s *session) afterChunks(answer reply.Reply, ok bool) (reply.Reply, bool) {
	if ok && s.conn.brokenOff(s.secure) {
		answer, ok = notReceived(io.ErrUnexpectedEOF), false
	}
	if !ok {
		s.aborted.Store(true)
	}
	return answer, ok
}

// receive reads the content behind our trace field and completes the envelope.
// Where that cannot be done it gives the answer for the client.
func (s *session) receive(e *envelope.Envelope, content Incoming, from source) (reply.Reply, bool) {
	counted := &counter{Writer: content}
	normaliser := body.NewNormaliser(counted, s.server.config.Limits.Line)
	_, err := io.WriteString(counted, traceField(*e, s.server.config.Hostname))
	if err == nil {
		err = from(&unfolder{Writer: normaliser})
	}
	if err == nil {
		err = normaliser.Close()
	}
	if err != nil {
		return notReceived(err), false
	}
	if normaliser.Hops() >= mostHops {
		return reply.New(554, 4, 6, "the message has passed %d hosts already and seems to go round in circles", normaliser.Hops()), false
	}
	e.Received = time.Now()
	e.Size, e.EightBit = counted.octets, normaliser.EightBit()
	return reply.Reply{}, true
}

// counter counts what is written.
type counter struct {
	io.Writer
	octets int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.octets += int64(n)
	return n, err
}

func notReceived(err error) reply.Reply {
	var (
		limit    *smtp.SMTPError
		declined *reply.Error
	)
	switch {
	case errors.As(err, &declined):
		return declined.Reply
	case errors.Is(err, smtp.ErrTooLongLine), errors.Is(err, body.ErrLongLine):
		return reply.New(500, 5, 2, "a line of the message is too long")
	case errors.As(err, &limit):
		return reply.New(limit.Code, limit.EnhancedCode[1], limit.EnhancedCode[2], "%s", limit.Message)
	}
	return reply.New(451, 4, 2, "the message broke off: %v", err)
}

// Reset gives up the transaction under way.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transaction = transaction{}
}

// Logout is the end of the session.
func (s *session) Logout() error { return nil }

// protocol is the session's keyword for the trace field (RFC 3848).
func (s *session) protocol() string {
	if s.secure {
		return "ESMTPS"
	}
	return "ESMTP"
}

// refusal gives an answer of ours to go-smtp, which sends any *smtp.SMTPError
// as it is, positive ones too.
func refusal(r reply.Reply) error {
	return &smtp.SMTPError{
		Code:         r.Code,
		EnhancedCode: smtp.EnhancedCode{r.Status.Class, r.Status.Subject, r.Status.Detail},
		Message:      fitLine(r.Text),
	}
}

// fitLine cuts each line of a reply's text to what a client must be able to
// take (RFC 5321 section 4.5.3.1.5), code and status allowed for.
func fitLine(text string) string {
	const most = 490
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if len(line) > most {
			lines[i] = strings.ToValidUTF8(line[:most], "") + " ..."
		}
	}
	return strings.Join(lines, "\n")
}

// traceField is our Received field (RFC 5321 section 4.4).
func traceField(e envelope.Envelope, hostname string) string {
	return fmt.Sprintf("Received: from %s (%s)\r\n\tby %s (Sealpost) with %s id %s;\r\n\t%s\r\n",
		traceName(e.Hello), addressLiteral(e.Client), hostname, e.Protocol, e.ID, e.Received.Format(time.RFC1123Z))
}
