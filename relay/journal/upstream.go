package journal

import (
	"log/slog"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/reply"
)

// Connection describes one connection to the upstream; it is part of each
// delivery's event.
type Connection struct {
	Route   string // delivery method; empty if there is only one
	Instead string // why the routes before it were not used; empty if there are none
	ID      string // identifies the connection in the journal
	Host    string // verified host name
	Address string // IP address and port

	Policy  string // what TLS was wanted, such as "verified certificate"
	TLS     string // protocol version, such as "TLS 1.3"; "none" in clear
	Cipher  string
	Peer    string // subject of the server's certificate
	Issuer  string
	Resumed bool // the TLS session was resumed, without a signature

	Requested   bool     // the server requested a certificate
	Authorities []string // acceptable CAs named by the server; empty means any
	Shown       string   // subject of the certificate sent; empty if none
	Key         string   // how the certificate's key is protected

	Account   string // mailbox that logged in; empty without a login
	Mechanism string // SASL mechanism
}

// Certificate describes in one line whether our certificate was requested and
// sent.
func (c Connection) Certificate() string {
	switch {
	case !c.Requested:
		return "it did not ask for our certificate"
	case c.Shown == "":
		return "it asked for our certificate, and there is none"
	case c.Resumed:
		return "it asked for our certificate and got " + c.Shown + " in the session that was resumed"
	}
	return "it asked for our certificate and got " + c.Shown
}

func (c Connection) attr() slog.Attr {
	var attrs []any
	if c.Route != "" {
		attrs = append(attrs, slog.String("route", c.Route))
	}
	if c.Instead != "" {
		attrs = append(attrs, slog.String("because", c.Instead))
	}
	attrs = append(attrs,
		slog.String("connection", c.ID), slog.String("host", c.Host), slog.String("address", c.Address),
		slog.String("wanted", c.Policy), slog.String("tls", c.TLS), slog.String("cipher", c.Cipher), slog.Bool("resumed", c.Resumed),
		slog.String("peer", c.Peer), slog.String("issuer", c.Issuer),
		slog.String("certificate", c.Certificate()), slog.Bool("requested", c.Requested), slog.Any("authorities", c.Authorities),
		slog.String("shown", c.Shown), slog.String("key", c.Key))
	if c.Account != "" {
		attrs = append(attrs, slog.String("account", c.Account), slog.String("mechanism", c.Mechanism))
	}
	return slog.Group("upstream", attrs...)
}

// Connected records a connection that is ready for mail.
func (j *Journal) Connected(c Connection, lasted time.Duration) {
	j.event(slog.LevelInfo, EventUpstreamConnected, tookAttr(lasted), c.attr())
}

// ConnectFailed records a failed connection.
func (j *Journal) ConnectFailed(host string, cause error, lasted time.Duration) {
	j.event(slog.LevelWarn, EventUpstreamNotConnected, slog.String("host", host),
		slog.String("cause", cause.Error()), tookAttr(lasted))
}

// UpstreamHeld records that mail is held back, of that account or, if empty,
// all mail, and when the next probe is sent; until is zero if no probe is planned.
// route names the delivery method; it is empty if there is only one.
func (j *Journal) UpstreamHeld(route, account, kind, text string, code fault.Code, until time.Time) {
	attrs := append(flowAttrs(route, account), slog.String("kind", kind), slog.String("words", text))
	if code != "" {
		attrs = append(attrs, slog.String("code", string(code)))
	}
	if !until.IsZero() {
		attrs = append(attrs, slog.String("until", until.Format(time.RFC3339)))
	}
	j.event(slog.LevelError, EventUpstreamHeld, attrs...)
}

// UpstreamResumed records that the mail is sent again.
func (j *Journal) UpstreamResumed(route, account string) {
	j.event(slog.LevelInfo, EventUpstreamResumed, flowAttrs(route, account)...)
}

// flowAttrs says which mail is concerned.
func flowAttrs(route, account string) []slog.Attr {
	if route == "" {
		return accountAttr(account)
	}
	return append([]slog.Attr{slog.String("route", route)}, accountAttr(account)...)
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

// TokenRequested records a request for an access token and its grant.
func (j *Journal) TokenRequested(grant string, cause error, lasted time.Duration) {
	attrs := []slog.Attr{slog.String("grant", grant), tookAttr(lasted)}
	if cause != nil {
		j.event(slog.LevelError, EventNoAccessToken, withCause(cause, attrs...)...)
		return
	}
	j.event(slog.LevelInfo, EventAccessToken, attrs...)
}

// Transaction records what became of a message at the mail host of one domain: the reply
// to the first of its recipients there.
func (j *Journal) Transaction(id, domain string, c Connection, r reply.Reply) {
	level := slog.LevelInfo
	if !r.Positive() {
		level = slog.LevelWarn
	}
	j.event(level, EventTransaction, idAttr(id), slog.String("domain", domain), replyAttr(r), c.attr())
}

// PolicyFault records why the TLS policy that a domain announces could not be had, and
// the mode of the one that is used instead.
func (j *Journal) PolicyFault(domain, mode string, cause error) {
	j.event(slog.LevelWarn, EventTLSPolicy, withCause(cause, slog.String("domain", domain), slog.String("mode", mode))...)
}

// Conversation records the SMTP dialogue on one connection.
type Conversation struct {
	journal    *Journal
	connection string
}

// Conversation starts the record of a dialogue.
func (j *Journal) Conversation(connection string) Conversation {
	return Conversation{j, connection}
}

// Sent records a line sent; content is described in brackets.
func (c Conversation) Sent(line string) { c.line(">", line) }

// Received records a line received.
func (c Conversation) Received(line string) { c.line("<", line) }

func (c Conversation) line(direction, line string) {
	c.journal.event(levelConversation, EventSMTP, slog.String("connection", c.connection),
		slog.String("line", direction+" "+line))
}
