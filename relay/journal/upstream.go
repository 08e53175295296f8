package journal

import (
	"fmt"
	"log/slog"
	"time"

	"sealpost/hal/fault"
)

// Connection is what is known of one connection to the upstream: the record
// that each delivery over it carries.
type Connection struct {
	ID      string // tells connections apart in the journal
	Host    string // name that was asked for and verified
	Address string // IP address and port that were reached

	TLS     string // protocol version, such as "TLS 1.3"
	Cipher  string
	Peer    string // subject of the server's certificate
	Issuer  string
	Resumed bool // the TLS session was taken up again without a signature

	Requested   bool     // the server asked for a certificate
	Authorities []string // the CAs it named as acceptable; empty means any
	Shown       string   // subject of the certificate shown; empty if none was
	Key         string   // how the key of that certificate is protected

	Account   string // mailbox that logged in; empty without a login
	Mechanism string // of SASL, by which it did
}

// Certificate says in one line whether our certificate was asked for and
// shown.
func (c Connection) Certificate() string {
	switch {
	case !c.Requested:
		return "certificate requested: no"
	case c.Shown == "":
		return "certificate requested: yes, shown: none"
	case c.Resumed:
		return fmt.Sprintf("certificate requested: yes, shown: %s (in the session resumed), key: %s", c.Shown, c.Key)
	}
	return fmt.Sprintf("certificate requested: yes, shown: %s, key: %s", c.Shown, c.Key)
}

func (c Connection) attr() slog.Attr {
	attrs := []any{
		slog.String("connection", c.ID), slog.String("host", c.Host), slog.String("address", c.Address),
		slog.String("tls", c.TLS), slog.String("cipher", c.Cipher), slog.Bool("resumed", c.Resumed),
		slog.String("peer", c.Peer), slog.String("issuer", c.Issuer),
		slog.String("certificate", c.Certificate()), slog.Bool("requested", c.Requested), slog.Any("authorities", c.Authorities),
		slog.String("shown", c.Shown), slog.String("key", c.Key),
	}
	if c.Account != "" {
		attrs = append(attrs, slog.String("account", c.Account), slog.String("mechanism", c.Mechanism))
	}
	return slog.Group("upstream", attrs...)
}

// Connected records a connection on which mail may now be sent.
func (j *Journal) Connected(c Connection, lasted time.Duration) {
	j.event(slog.LevelInfo, EventUpstreamConnected, tookAttr(lasted), c.attr())
}

// ConnectFailed records a connection that did not come about.
func (j *Journal) ConnectFailed(host string, cause error, lasted time.Duration) {
	j.event(slog.LevelWarn, EventUpstreamNotConnected, slog.String("host", host),
		slog.String("cause", cause.Error()), tookAttr(lasted))
}

// UpstreamHeld records that the upstream takes no mail for now, of that account
// or where it has no name of any, and when it is asked again.
func (j *Journal) UpstreamHeld(account, kind, words string, code fault.Code, until time.Time) {
	attrs := append(accountAttr(account), slog.String("kind", kind), slog.String("words", words))
	if code != "" {
		attrs = append(attrs, slog.String("code", string(code)))
	}
	j.event(slog.LevelError, EventUpstreamHeld, append(attrs, slog.String("until", until.Format(time.RFC3339)))...)
}

// UpstreamResumed records that the upstream takes that mail again.
func (j *Journal) UpstreamResumed(account string) {
	j.event(slog.LevelInfo, EventUpstreamResumed, accountAttr(account)...)
}

func accountAttr(name string) []slog.Attr {
	if name == "" {
		return nil
	}
	return []slog.Attr{slog.String("account", name)}
}

// Signed records a signature with the client certificate's key.
func (j *Journal) Signed(connection, protection string, cause error, lasted time.Duration) {
	attrs := []slog.Attr{slog.String("connection", connection), slog.String("key", protection), tookAttr(lasted)}
	if cause != nil {
		j.event(slog.LevelError, EventSignatureFailed, withCause(cause, attrs...)...)
		return
	}
	total := j.Counters.Signatures.Add(1)
	j.event(slog.LevelInfo, EventSignature, append(attrs, slog.Int64("total", total))...)
}

// TokenRequested records a request for an access token, and with what the box
// identified itself.
func (j *Journal) TokenRequested(grant string, cause error, lasted time.Duration) {
	attrs := []slog.Attr{slog.String("grant", grant), tookAttr(lasted)}
	if cause != nil {
		j.event(slog.LevelError, EventNoAccessToken, withCause(cause, attrs...)...)
		return
	}
	j.event(slog.LevelInfo, EventAccessToken, attrs...)
}

// Conversation is the SMTP dialogue on one connection, line by line.
type Conversation struct {
	journal    *Journal
	connection string
}

// Conversation begins the record of a dialogue.
func (j *Journal) Conversation(connection string) Conversation {
	return Conversation{j, connection}
}

// Sent records a line of ours; content is described in brackets, never given.
func (c Conversation) Sent(line string) { c.line(">", line) }

// Received records a line of the server's.
func (c Conversation) Received(line string) { c.line("<", line) }

func (c Conversation) line(direction, line string) {
	c.journal.event(levelConversation, EventSMTP, slog.String("connection", c.connection),
		slog.String("line", direction+" "+line))
}
