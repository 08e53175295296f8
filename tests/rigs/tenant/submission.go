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

// Submission makes a tenant the host for message submission: who logs in by
// OAuth may send, within the limits of the mailbox.
type Submission struct {
	Mechanisms []string // what AUTH offers; nil is as Exchange Online
	// Judge gives the answer that refuses a login, or "" where it is good. One
	// that ends in HangUp is the last.
	Judge func(user, token string) string
	// SendAs tells whether a mailbox may send as another sender; nil is never.
	SendAs      func(user, sender string) bool
	Connections int           // at once
	PerMinute   int           // messages
	Minute      time.Duration // as far as PerMinute goes; none is a minute
	PerDay      int           // recipients
}

// Login is an attempt to log in.
type Login struct{ Mechanism, User, Token string }

// The answers to who goes over a limit.
const (
	tooManyConnections = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"
	tooManyMessages    = "451 4.7.500 Server busy. Please try again later"
	tooManyRecipients  = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception"
	notLoggedIn        = "530 5.7.57 Client not authenticated to send mail."
	sendAsDenied       = "554 5.2.252 SendAsDenied; %u not allowed to send as %s; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied"
)

// mailbox is what counts against a mailbox's limits.
type mailbox struct {
	seats      int // sessions that may send
	begun      []time.Time
	recipients int // of this run: no test lasts a day and counts on
}

// Logins gives the attempts to log in so far.
func (t *Tenant) Logins() []Login {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.logins)
}

// Denials gives the answers by which limits were defended so far.
func (t *Tenant) Denials() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.denials)
}

// mailbox is the session's. The caller holds the tenant's mu.
func (s *session) mailbox() *mailbox {
	box := s.tenant.mailboxes[s.user]
	if box == nil {
		box = &mailbox{}
		s.tenant.mailboxes[s.user] = box
	}
	return box
}

// mechanisms is what AUTH offers.
func (s *session) mechanisms() []string {
	if s.config.Submission.Mechanisms != nil {
		return s.config.Submission.Mechanisms
	}
	return []string{"LOGIN", "XOAUTH2"}
}

// login is AUTH.
func (s *session) login(argument string) bool {
	mechanism, initial, _ := strings.Cut(argument, " ")
	switch {
	case s.config.Submission == nil || s.state == nil:
		return s.answer("AUTH", argument, "500 5.3.3 Unrecognized command")
	case !slices.Contains(s.mechanisms(), mechanism):
		return s.answer("AUTH", argument, "504 5.7.4 Unrecognized authentication type")
	case initial == "":
		// A response that the command had no room for (RFC 4954 section 4).
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
		return s.answer("AUTH", argument, "501 5.5.4 Invalid arguments")
	}
	s.tenant.mu.Lock()
	s.tenant.logins = append(s.tenant.logins, Login{mechanism, user, token})
	s.tenant.mu.Unlock()
	if refusal := s.config.Submission.Judge(user, token); refusal != "" {
		return s.refuse(argument, refusal)
	}
	s.user = user
	return s.answer("AUTH", argument, "235 2.7.0 Authentication successful")
}

// refuse says why in a challenge first, as the mechanisms have it.
func (s *session) refuse(argument, refusal string) bool {
	why := base64.StdEncoding.EncodeToString([]byte(`{"status":"401","schemes":"Bearer","scope":"https://outlook.office.com/"}`))
	if !s.answer("AUTH", argument, "334 "+why) {
		return false
	}
	if line, err := s.r.ReadString('\n'); err != nil || line != "\r\n" && line != "AQ==\r\n" {
		return false
	}
	return s.answer("AUTH", argument, refusal)
}

// credentials reads the response of XOAUTH2, or of OAUTHBEARER (RFC 7628).
func credentials(mechanism, response string) (user, token string, ok bool) {
	fields := strings.Split(strings.TrimSuffix(response, "\x01\x01"), "\x01")
	user, ok = strings.CutPrefix(fields[0], "user=")
	if mechanism == "OAUTHBEARER" {
		user, ok = strings.CutPrefix(strings.TrimSuffix(fields[0], ","), "n,a=")
	}
	token, bearer := strings.CutPrefix(fields[len(fields)-1], "auth=Bearer ")
	return user, token, ok && bearer
}

// admit defends the limits that count before a message is taken, and gives the
// answer that does; "" lets it pass.
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
	if !s.seated {
		if limits.Connections > 0 && box.seats >= limits.Connections {
			return s.deny(tooManyConnections)
		}
		box.seats++
		s.seated = true
	}
	box.begun = slices.DeleteFunc(box.begun, func(at time.Time) bool { return now.Sub(at) >= cmp.Or(limits.Minute, time.Minute) })
	if limits.PerMinute > 0 && len(box.begun) >= limits.PerMinute {
		return s.deny(tooManyMessages)
	}
	box.begun = append(box.begun, now)
	return ""
}

// deny notes that a limit was defended. The caller holds the tenant's mu.
func (s *session) deny(answer string) string {
	s.tenant.denials = append(s.tenant.denials, answer)
	return answer
}

// submit judges a whole message, and gives the answer that refuses it.
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
