package tenant

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// Submission makes a tenant a submission server: clients that log in by OAuth may
// send within the limits of the mailbox.
type Submission struct {
	Mechanisms []string // offered by AUTH; nil means those of Exchange Online
	// CheckLogin returns the reply that rejects a login, or "" to accept it. A reply
	// that ends in HangUp closes the connection.
	CheckLogin func(user, token string) string
	// SendAs reports whether a mailbox may send as another sender; nil means never.
	SendAs      func(user, sender string) bool
	Connections int           // concurrent
	PerMinute   int           // messages
	Minute      time.Duration // the period of PerMinute; 0 means a minute
	PerDay      int           // recipients
}

// Login is a login attempt.
type Login struct{ Mechanism, User, Token string }

// Replies of Exchange Online to clients that exceed a limit or may not send.
const (
	tooManyConnections = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"
	tooManyMessages    = "451 4.7.500 Server busy. Please try again later"
	tooManyRecipients  = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception"
	notLoggedIn        = "530 5.7.57 Client not authenticated to send mail."
	sendAsDenied       = "554 5.2.252 SendAsDenied; %u not allowed to send as %s; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied"
)

// mailbox counts what the limits of a mailbox apply to.
type mailbox struct {
	sessions   int         // that may send
	recent     []time.Time // times of the recent messages
	recipients int         // since the start; no test runs for a day
}

// Logins returns the login attempts so far.
func (t *Tenant) Logins() []Login {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.logins)
}

// LimitReplies returns the replies to exceeded limits so far.
func (t *Tenant) LimitReplies() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.limitReplies)
}

// mailbox returns the session's mailbox. The caller holds the tenant's mu.
func (s *session) mailbox() *mailbox {
	box := s.tenant.mailboxes[s.user]
	if box == nil {
		box = &mailbox{}
		s.tenant.mailboxes[s.user] = box
	}
	return box
}

// mechanisms returns the offered SASL mechanisms.
func (s *session) mechanisms() []string {
	if s.config.Submission.Mechanisms != nil {
		return s.config.Submission.Mechanisms
	}
	return []string{"LOGIN", "XOAUTH2"}
}

// login handles AUTH.
func (s *session) login(argument string) bool {
	mechanism, initial, _ := strings.Cut(argument, " ")
	switch {
	case s.config.Submission == nil || s.state == nil:
		return s.reply("AUTH", argument, "500 5.3.3 Unrecognized command")
	case !slices.Contains(s.mechanisms(), mechanism):
		return s.reply("AUTH", argument, "504 5.7.4 Unrecognized authentication type")
	case initial == "":
		// The initial response did not fit in the command (RFC 4954 section 4).
		if _, err := io.WriteString(s.conn, "334 \r\n"); err != nil {
			return false
		}
		line, err := s.r.ReadString('\n')
		if err != nil {
			return false
		}
		initial = strings.TrimRight(line, "\r\n")
	}
	text, err := base64.StdEncoding.DecodeString(initial)
	user, token, ok := credentials(mechanism, string(text))
	if err != nil || !ok {
		return s.reply("AUTH", argument, "501 5.5.4 Invalid arguments")
	}
	s.tenant.mu.Lock()
	s.tenant.logins = append(s.tenant.logins, Login{mechanism, user, token})
	s.tenant.mu.Unlock()
	if rejection := s.config.Submission.CheckLogin(user, token); rejection != "" {
		return s.rejectLogin(argument, rejection)
	}
	s.user = user
	return s.reply("AUTH", argument, "235 2.7.0 Authentication successful")
}

// rejectLogin sends the reason in a challenge before the reply, as the mechanisms require.
func (s *session) rejectLogin(argument, rejection string) bool {
	why := base64.StdEncoding.EncodeToString([]byte(`{"status":"401","schemes":"Bearer","scope":"https://outlook.office.com/"}`))
	if !s.reply("AUTH", argument, "334 "+why) {
		return false
	}
	if line, err := s.r.ReadString('\n'); err != nil || line != "\r\n" && line != "AQ==\r\n" {
		return false
	}
	return s.reply("AUTH", argument, rejection)
}

// credentials parses the response of XOAUTH2, or of OAUTHBEARER (RFC 7628).
func credentials(mechanism, response string) (user, token string, ok bool) {
	fields := strings.Split(strings.TrimSuffix(response, "\x01\x01"), "\x01")
	user, ok = strings.CutPrefix(fields[0], "user=")
	if mechanism == "OAUTHBEARER" {
		user, ok = strings.CutPrefix(strings.TrimSuffix(fields[0], ","), "n,a=")
	}
	token, bearer := strings.CutPrefix(fields[len(fields)-1], "auth=Bearer ")
	return user, token, ok && bearer
}

// admit checks the limits that apply before a message is accepted. It returns the
// rejecting reply, or "".
func (s *session) admit() string {
	limits := s.config.Submission
	if limits == nil {
		return ""
	}
	if s.user == "" {
		return notLoggedIn
	}
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	box, now := s.mailbox(), time.Now()
	if !s.counted {
		if limits.Connections > 0 && box.sessions >= limits.Connections {
			return s.deny(tooManyConnections)
		}
		box.sessions++
		s.counted = true
	}
	box.recent = slices.DeleteFunc(box.recent, func(at time.Time) bool { return now.Sub(at) >= cmp.Or(limits.Minute, time.Minute) })
	if limits.PerMinute > 0 && len(box.recent) >= limits.PerMinute {
		return s.deny(tooManyMessages)
	}
	box.recent = append(box.recent, now)
	return ""
}

// deny records the reply to an exceeded limit. The caller holds the tenant's mu.
func (s *session) deny(reply string) string {
	s.tenant.limitReplies = append(s.tenant.limitReplies, reply)
	return reply
}

// submit checks a complete message. It returns the rejecting reply, or "".
func (s *session) submit(content []byte) string {
	limits := s.config.Submission
	if limits == nil {
		return ""
	}
	senders := []string{s.message.Sender}
	if m, err := mail.ReadMessage(bytes.NewReader(content)); err == nil {
		if from, err := mail.ParseAddress(m.Header.Get("From")); err == nil {
			senders = append(senders, from.Address)
		}
	}
	for _, sender := range senders {
		if sender != s.user && (limits.SendAs == nil || !limits.SendAs(s.user, sender)) {
			return strings.NewReplacer("%u", s.user, "%s", sender).Replace(sendAsDenied)
		}
	}
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	box := s.mailbox()
	if limits.PerDay > 0 && box.recipients+len(s.message.Recipients) > limits.PerDay {
		return s.deny(tooManyRecipients)
	}
	box.recipients += len(s.message.Recipients)
	return ""
}
