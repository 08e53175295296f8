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
	"sealpost/relay/header"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

// maxHops is the number of Received fields from which a message counts as
// looping (RFC 5321 section 6.3).
const maxHops = 50

// session implements smtp.Session for one client, from EHLO on.
type session struct {
	server       *Server
	conn         *clientConn
	smtp         *smtp.Conn
	transactions int

	// With BDAT, go-smtp runs Data concurrently with other commands.
	mu sync.Mutex
	transaction
	aborted atomic.Bool // a BDAT transfer was aborted
}

// transaction is the state of a mail transaction.
type transaction struct {
	client       policy.Client
	limits       policy.Limits    // of its device
	clientSender envelope.Address // sender in the client's MAIL command
	octets       int64            // announced SIZE; 0 if none
	originals    int              // octets of the original recipients (ORCPT)
	envelope     envelope.Envelope
}

// Mail begins a transaction.
func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.transactions++
	if s.transactions > s.server.config.Limits.Transactions {
		s.conn.endAfterReply()
		return smtpReply(reply.New(421, 7, 0, "too many messages in one session, connect again"))
	}
	if s.aborted.Load() || s.conn.chunksAborted {
		s.conn.endAfterReply()
		return smtpReply(reply.New(421, 3, 0, "the previous transfer was aborted, connect again"))
	}
	var sender envelope.Address
	if from != "" {
		var err error
		if sender, err = envelope.ParseAddress(from); err != nil {
			return smtpReply(reply.New(553, 1, 7, "the sender address is not valid: %v", err))
		}
	}
	if r := s.conn.refreshUser(); r.Code != 0 {
		return smtpReply(r)
	}
	client := s.conn.identity
	used, v := s.server.policy.Sender(client, sender)
	if v.Refused() {
		return smtpReply(v.Reply)
	}
	limits := s.server.policy.Access(client).Device.Limits
	perMinute := limit(limits.MessagesPerMinute, s.server.config.Limits.PerMinute)
	if s.conn.sessions.countMessage(s.conn.counted, perMinute) {
		return smtpReply(reply.New(450, 7, 1, "%s has sent %d messages within a minute: try again later", client.Address.Unmap(), perMinute))
	}
	e := envelope.Envelope{
		ID:       rand.Text()[:12],
		Client:   s.conn.client,
		Hello:    s.smtp.Hostname(),
		Protocol: s.protocol(),
		Sender:   used,
		DSN:      s.conn.mailDSN,
		Share:    limits.SpoolShare,
	}
	if r := s.server.acceptor.Admit(e, options.Size); !r.Positive() {
		return smtpReply(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.inTransaction.Store(true)
	s.conn.mailAt.Store(time.Now().UnixNano())
	s.transaction = transaction{client: client, limits: limits, clientSender: sender, octets: options.Size, envelope: e}
	return nil
}

// Rcpt adds a recipient. Notifications go to the sender of the envelope. If the policy
// has replaced the client's sender, a notification of success is not requested, because
// the new sender did not request it; failure and delay are reported to the new sender.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	recipient, err := envelope.ParseAddress(to)
	if err != nil {
		return smtpReply(reply.New(553, 1, 3, "the recipient address is not valid: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.server.policy.Recipient(s.client, recipient); v.Refused() {
		return smtpReply(v.Reply)
	}
	if most := s.limits.Recipients; most > 0 && len(s.envelope.Recipients) >= most {
		return smtpReply(reply.New(452, 5, 3, "a message of this device may have %d recipients: send the rest in another message", most))
	}
	dsn := s.conn.rcptDSN
	if s.clientSender != s.envelope.Sender {
		dsn.Notify = dsn.Notify.WithoutSuccess()
	}
	if s.originals += len(dsn.Original); s.originals > maxOriginals {
		dsn.Original = ""
	}
	s.envelope.DSN.Set(len(s.envelope.Recipients), dsn)
	s.envelope.Recipients = append(s.envelope.Recipients, recipient)
	s.conn.hasRecipient = true
	return nil
}

// Data receives the message and keeps the client waiting until it is delivered
// or durable.
func (s *session) Data(from io.Reader) error {
	s.conn.beginContent()
	defer s.conn.receiving.Store(false)
	s.mu.Lock()
	client, clientSender, e, octets := s.client, s.clientSender, s.envelope, s.octets
	s.mu.Unlock()
	e.Received = time.Now()
	content := s.server.acceptor.Begin(e, octets)
	source, chunked := s.contentSource(from)
	repairs, failure, ok := s.receive(&e, client, content, source)
	if chunked {
		failure, ok = s.checkChunks(failure, ok)
	}
	if !ok {
		content.Abandon()
		s.conn.record(0, failure.String())
		s.server.journal.NotReceived(e.ID, e.Client, failure)
		return smtpReply(failure)
	}
	s.conn.messages.Add(1)
	s.server.journal.Received(e, repairs)
	for _, name := range repairs {
		s.conn.quirk(name)
	}
	if clientSender != e.Sender {
		s.server.journal.SenderReplaced(e.ID, clientSender, e.Sender)
	}
	s.conn.accepting.Store(true)
	defer s.conn.accepting.Store(false)
	r := content.Accept(s.server.context, e)
	if r.Positive() {
		s.conn.record(1, "")
	} else {
		s.conn.record(0, r.String())
	}
	return smtpReply(r)
}

// contentSource returns the source of the content: for DATA the connection itself,
// without go-smtp.
func (s *session) contentSource(r io.Reader) (from contentSource, chunked bool) {
	if _, chunked = r.(*io.PipeReader); chunked {
		return contentFrom(r, s.conn.messageSize()), true
	}
	return s.conn.dataContent(s.conn.messageSize()), false
}

// checkChunks corrects go-smtp's BDAT: it treats a truncated chunk as complete,
// and may send the reply to an aborted transfer for the next message. So no
// message may follow an aborted one.
func (s *session) checkChunks(r reply.Reply, ok bool) (reply.Reply, bool) {
	if ok && s.conn.truncated.Load() {
		r, ok = receiveErrorReply(io.ErrUnexpectedEOF), false
	}
	if !ok {
		s.aborted.Store(true)
	}
	return r, ok
}

// receive writes our trace field, copies the content after it, repaired, and completes
// the envelope. It returns the names of what was repaired.
// If it fails, it returns the client's reply and false.
func (s *session) receive(e *envelope.Envelope, client policy.Client, content Incoming, from contentSource) (repairs []string, failure reply.Reply, ok bool) {
	hostname := s.server.config.Hostname
	counted := &octetCounter{Writer: content}
	author := authorCheck{policy: s.server.policy, client: client, sender: e.Sender}
	repairer := header.NewRepairer(counted, header.Repairs{
		Sender:    authorOf(e.Sender, hostname),
		Date:      e.Received,
		MessageID: e.ID + "@" + hostname,
		Author:    author.replacement,
		MaySend:   author.maySend,
	})
	normaliser := body.NewNormaliser(repairer, s.server.config.Limits.Line)
	_, err := io.WriteString(counted, traceField(*e, hostname))
	if err != nil {
		// The content must still be read to its end, or it would be read as commands.
		_ = from(failed{err})
	} else if err = from(normaliser); err == nil {
		if err = normaliser.Close(); err == nil {
			err = repairer.Close()
		}
	}
	if err != nil {
		return nil, receiveErrorReply(err), false
	}
	if normaliser.Hops() >= maxHops {
		return nil, reply.New(554, 4, 6, "too many hops: the message has passed %d hosts and seems to loop", normaliser.Hops()), false
	}
	if author.verdict.Refused() {
		return nil, author.verdict.Reply, false
	}
	e.Received = time.Now()
	e.Size, e.EightBit, e.LongLines = counted.octets, normaliser.EightBit(), normaliser.LongLines()
	return repairNames(normaliser, repairer), reply.Reply{}, true
}

// authorCheck asks the policy for the author of one message.
type authorCheck struct {
	policy  Policy
	client  policy.Client
	sender  envelope.Address
	verdict policy.Verdict
}

// replacement returns the address that replaces the authors, or "" to keep them.
func (a *authorCheck) replacement(authors []string) string {
	var instead envelope.Address
	instead, a.verdict = a.policy.From(a.client, a.sender, asAddresses(authors))
	return addrSpec(instead)
}

// maySend reports whether the client may send as each of these.
func (a *authorCheck) maySend(senders []string) bool {
	instead, v := a.policy.From(a.client, a.sender, asAddresses(senders))
	return instead == "" && !v.Refused()
}

func asAddresses(texts []string) (all []envelope.Address) {
	for _, text := range texts {
		all = append(all, envelope.Address(text))
	}
	return all
}

// authorOf returns the author of a message without From.
func authorOf(sender envelope.Address, hostname string) string {
	if sender == "" {
		return "MAILER-DAEMON@" + hostname
	}
	return addrSpec(sender)
}

// addrSpec returns an address as a header has it, with its local part quoted if necessary
// (RFC 5322 section 3.4.1).
func addrSpec(a envelope.Address) string {
	path := a.Path()
	return path[1 : len(path)-1]
}

// repairNames returns the names of what was changed in a content.
func repairNames(normaliser *body.Normaliser, repairer *header.Repairer) (names []string) {
	if normaliser.NULs() {
		names = append(names, "nul removed")
	}
	for _, repair := range repairer.Done() {
		names = append(names, string(repair))
	}
	return names
}

// failed is a writer that accepts nothing.
type failed struct{ err error }

func (f failed) Write([]byte) (int, error) { return 0, f.err }

// octetCounter counts octets written.
type octetCounter struct {
	io.Writer
	octets int64
}

func (c *octetCounter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.octets += int64(n)
	return n, err
}

func receiveErrorReply(err error) reply.Reply {
	var (
		limit    *smtp.SMTPError
		replyErr *reply.Error
	)
	switch {
	case errors.As(err, &replyErr):
		return replyErr.Reply
	case errors.Is(err, errBareDot):
		return reply.New(554, 5, 2, "the message must end with CR LF . CR LF, but its end has a bare LF or CR: set the device's line endings to CR LF, or update its software")
	case errors.Is(err, header.ErrTooLarge):
		return reply.New(552, 3, 4, "the header of the message is too large")
	case errors.Is(err, smtp.ErrTooLongLine), errors.Is(err, body.ErrLongLine):
		return reply.New(500, 5, 2, "a line of the message's header is too long")
	case errors.As(err, &limit):
		return reply.New(limit.Code, limit.EnhancedCode[1], limit.EnhancedCode[2], "%s", limit.Message) // replaced later; see texts
	}
	return reply.New(451, 4, 2, "the message was cut off: %v", err)
}

// Reset aborts the current transaction.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.inTransaction.Store(false)
	s.conn.hasRecipient = false
	s.transaction = transaction{}
}

// Logout ends the session.
func (s *session) Logout() error { return nil }

// protocol returns the session's keyword for the trace field (RFC 3848).
func (s *session) protocol() string {
	switch {
	case !s.conn.extended:
		return "SMTP"
	}
	protocol := "ESMTP"
	if s.conn.secure.Load() {
		protocol += "S"
	}
	if s.conn.identity.User != nil {
		protocol += "A"
	}
	return protocol
}

// smtpReply converts a reply for go-smtp, which sends any *smtp.SMTPError
// unchanged, positive ones too.
func smtpReply(r reply.Reply) error {
	return &smtp.SMTPError{
		Code:         r.Code,
		EnhancedCode: smtp.EnhancedCode{r.Status.Class, r.Status.Subject, r.Status.Detail},
		Message:      r.Text,
	}
}

// maxReplyLine is less than the length of a line that a client must accept (RFC 5321
// section 4.5.3.1.5).
const maxReplyLine = 490

func truncateLine(line string) string {
	if len(line) <= maxReplyLine {
		return line
	}
	return strings.ToValidUTF8(line[:maxReplyLine], "") + " ..."
}

// traceField returns our Received field (RFC 5321 section 4.4).
func traceField(e envelope.Envelope, hostname string) string {
	return fmt.Sprintf("Received: from %s (%s)\r\n\tby %s (Sealpost) with %s id %s;\r\n\t%s\r\n",
		traceName(e.Hello), addressLiteral(e.Client), hostname, e.Protocol, e.ID, e.Received.Format(time.RFC1123Z))
}
