package tenant

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// session is a connection to the tenant.
type session struct {
	tenant  *Tenant
	config  Config
	tls     *tls.Config
	conn    net.Conn
	r       *bufio.Reader
	state   *tls.ConnectionState
	message Message
	chunks  []byte
	user    string // the mailbox that logged in
	counted bool   // included in the mailbox's connections
	over    bool

	// Guarded by the tenant's mutex. idle is true between transactions. A session
	// that is leaving keeps its old script and ends as soon as it is idle.
	idle, leaving bool
	script        Script
}

func (t *Tenant) serve(conn net.Conn) {
	s := &session{tenant: t, conn: conn}
	t.mu.Lock()
	s.config, s.tls = t.config, t.tls
	t.connections[conn] = s
	t.mu.Unlock()
	defer s.end()
	s.r = bufio.NewReader(io.TeeReader(conn, plaintextWriter{t}))
	if s.config.TLSFirst && !s.handshake() {
		return
	}
	if !s.reply("CONNECT", "", "220 mock.mail.protection.outlook.example Microsoft ESMTP MAIL Service ready") {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		verb = strings.ToUpper(verb)
		s.setIdle(false)
		if !s.verb(verb, argument) {
			return
		}
		if ends := verb == "RSET" || verb == "DATA" || verb == "BDAT" && s.chunks == nil; ends && s.setIdle(true) {
			return
		}
	}
}

// setIdle records whether a transaction is active, and reports whether the
// session must end now.
func (s *session) setIdle(idle bool) (over bool) {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	s.idle = idle
	return idle && s.leaving
}

// scripted returns the reply of the session's script.
func (s *session) scripted(verb, argument string) string {
	s.tenant.mu.Lock()
	script := s.tenant.script
	if s.leaving {
		script = s.script
	}
	s.tenant.mu.Unlock()
	if script == nil {
		return ""
	}
	return script(verb, argument)
}

// end ends the session. It is called before the reply to QUIT, so that the client
// can rely on it when it gets the reply.
func (s *session) end() {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	if !s.over {
		s.over = true
		s.tenant.open--
		if s.counted {
			s.mailbox().sessions--
		}
	}
}

// plaintextWriter records what clients send outside TLS.
type plaintextWriter struct{ tenant *Tenant }

func (c plaintextWriter) Write(p []byte) (int, error) {
	c.tenant.mu.Lock()
	defer c.tenant.mu.Unlock()
	return c.tenant.plaintext.Write(p)
}

// reply sends the script's reply, or else the standard one. It returns false if the
// connection must be closed.
func (s *session) reply(verb, argument, standard string) bool {
	text := s.scripted(verb, argument)
	switch text {
	case "":
		text = standard
	case HangUp:
		return false
	case Stall:
		s.tenant.stall()
		return false
	}
	text, last := strings.CutSuffix(text, HangUp)
	_, err := io.WriteString(s.conn, text+"\r\n")
	return err == nil && !last && !strings.HasPrefix(text, "421")
}

func (s *session) verb(verb, argument string) bool {
	switch verb {
	case "EHLO":
		return s.reply(verb, argument, s.hello())
	case "STARTTLS":
		return s.startTLS()
	case "AUTH":
		return s.login(argument)
	case "MAIL":
		return s.mail(argument)
	case "RCPT":
		return s.recipient(argument)
	case "DATA":
		return s.data()
	case "BDAT":
		return s.chunk(argument)
	case "RSET":
		s.message, s.chunks = Message{}, nil
		return s.reply(verb, argument, "250 2.0.0 Resetting")
	case "QUIT":
		s.end()
		s.reply(verb, argument, "221 2.0.0 Service closing transmission channel")
		return false
	}
	return s.reply(verb, argument, "500 5.3.3 Unrecognized command")
}

func (s *session) hello() string {
	lines := []string{"mock.mail.protection.outlook.example Hello"}
	lines = append(lines, s.config.Extensions...)
	if s.state == nil && !s.config.NoSTARTTLS {
		lines = append(lines, "STARTTLS")
	}
	if s.state != nil && s.config.Submission != nil {
		lines = append(lines, "AUTH "+strings.Join(s.mechanisms(), " "))
	}
	return "250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1]
}

func (s *session) startTLS() bool {
	if !s.reply("STARTTLS", "", "220 2.0.0 SMTP server ready") {
		return false
	}
	return s.handshake()
}

// handshake does the TLS handshake.
func (s *session) handshake() bool {
	conn := tls.Server(s.conn, s.tls)
	if err := conn.Handshake(); err != nil {
		return false
	}
	state := conn.ConnectionState()
	s.conn, s.r, s.state = conn, bufio.NewReader(conn), &state
	return true
}

func (s *session) mail(argument string) bool {
	reply := s.admit()
	s.message = Message{}
	if reply == "" {
		reply = "250 2.1.0 Sender OK"
		s.message = Message{Sender: path(argument), User: s.user}
	}
	return s.reply("MAIL", argument, reply)
}

// recipient applies the relay rule or the submission rule.
func (s *session) recipient(argument string) bool {
	reply := "250 2.1.5 Recipient OK"
	switch {
	case s.state == nil:
		reply = "530 5.7.0 Must issue a STARTTLS command first"
	case s.config.Submission != nil && s.message.User == "":
		reply = "503 5.5.2 Need mail command"
	case s.config.Submission == nil && !s.attributed():
		reply = "550 5.7.64 TenantAttribution; Relay Access Denied"
	}
	text := s.scripted("RCPT", argument)
	if text == "" && strings.HasPrefix(reply, "250") || strings.HasPrefix(text, "250") {
		s.message.Recipients = append(s.message.Recipients, path(argument))
	}
	return s.reply("RCPT", argument, reply)
}

// attributed reports whether both parts of the relay rule hold: the domain of the
// certificate or of the envelope sender is accepted, and the certificate matches
// the connector.
func (s *session) attributed() bool {
	if len(s.state.PeerCertificates) == 0 {
		return false
	}
	certificate := s.state.PeerCertificates[0]
	names := append([]string{certificate.Subject.CommonName}, certificate.DNSNames...)
	accepted := s.config.AcceptedDomains
	_, domain, _ := strings.Cut(s.message.Sender, "@")
	domainAccepted := slices.Contains(accepted, domain) || slices.ContainsFunc(names, func(name string) bool {
		return slices.ContainsFunc(accepted, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
	})
	return domainAccepted && slices.Contains(names, s.config.Connector)
}

func (s *session) data() bool {
	if len(s.message.Recipients) == 0 {
		return s.reply("DATA", "", "503 5.5.2 Need rcpt command")
	}
	if text := s.scripted("DATA", ""); text != "" {
		return s.reply("DATA", "", text)
	}
	if _, err := io.WriteString(s.conn, "354 Start mail input; end with <CRLF>.<CRLF>\r\n"); err != nil {
		return false
	}
	var content bytes.Buffer
	for {
		line, err := s.r.ReadBytes('\n')
		if err != nil || s.midway(content.Len() == 0) {
			return false
		}
		if string(line) == ".\r\n" {
			return s.take(content.Bytes())
		}
		content.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

func (s *session) chunk(argument string) bool {
	size, last, _ := strings.Cut(argument, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		return s.reply("BDAT", argument, "501 5.5.4 Bad size")
	}
	if s.midway(len(s.chunks) == 0) {
		return false
	}
	part := make([]byte, n)
	if _, err := io.ReadFull(s.r, part); err != nil {
		return false
	}
	if len(s.message.Recipients) == 0 {
		return s.reply("BDAT", argument, "503 5.5.2 Need rcpt command")
	}
	s.chunks = append(s.chunks, part...)
	if !strings.EqualFold(last, "LAST") {
		return s.reply("BDAT", argument, "250 2.0.0 Continue")
	}
	content := s.chunks
	s.chunks = nil
	return s.take(content)
}

// midway runs the script while content arrives and reports whether the session
// must end.
func (s *session) midway(first bool) bool {
	if !first {
		return false
	}
	switch s.scripted("MIDWAY", "") {
	case HangUp:
		return true
	case Stall:
		s.tenant.stall()
		return true
	}
	return false
}

// take stores the message unless the script rejects it.
func (s *session) take(content []byte) bool {
	text := s.scripted("CONTENT", "")
	if text != "" && text != Take {
		return s.reply("CONTENT", "", text)
	}
	if rejection := s.submit(content); rejection != "" {
		return s.reply("CONTENT", "", rejection)
	}
	s.message.At, s.message.Content = time.Now(), bytes.Clone(content)
	if s.state != nil { // a script may accept mail in clear
		s.message.TLS, s.message.Resumed = *s.state, s.state.DidResume
		s.message.Client = first(s.state.PeerCertificates)
	}
	s.tenant.mu.Lock()
	s.tenant.messages = append(s.tenant.messages, s.message)
	number := len(s.tenant.messages)
	s.tenant.mu.Unlock()
	if text == Take {
		return false
	}
	_, err := fmt.Fprintf(s.conn, "250 2.6.0 <%d@mock> Queued mail for delivery\r\n", number)
	return err == nil
}

func first(certificates []*x509.Certificate) *x509.Certificate {
	if len(certificates) == 0 {
		return nil
	}
	return certificates[0]
}

// path returns the mailbox in "FROM:<a@b> SIZE=1".
func path(argument string) string {
	_, rest, _ := strings.Cut(argument, "<")
	mailbox, _, _ := strings.Cut(rest, ">")
	return mailbox
}
