package lan

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

// authTimeout is how long checking one login may take.
const authTimeout = 20 * time.Second

// offeredAuth returns the mechanisms that the client is offered in the reply to EHLO
// (RFC 4954); none if no login can succeed.
func (c *clientConn) offeredAuth() []string {
	access := c.server.policy.Access(c.identity)
	users := c.server.config.Users
	switch {
	case access.RequireTLS && !c.secure.Load():
		return nil
	case access.Device.Auth == policy.AnyLogin:
		return []string{"PLAIN", "LOGIN"}
	case users == nil || users.Empty():
		return nil
	case users.OffersCRAM():
		return []string{"PLAIN", "LOGIN", "CRAM-MD5"}
	}
	return []string{"PLAIN", "LOGIN"}
}

// credentials are what a client presents.
type credentials struct {
	mechanism         string
	name              string
	password          string // of PLAIN and LOGIN
	challenge, digest []byte // of CRAM-MD5
}

// Format keeps the password out of every text.
func (credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[credentials]") }

// errCancelled is returned for a client that cancels the exchange.
var errCancelled = errors.New("cancelled")

// auth carries out AUTH (RFC 4954).
func (c *clientConn) auth(argument string) error {
	mechanism, initial := argument, ""
	if end := strings.IndexAny(argument, " \t"); end >= 0 {
		mechanism, initial = argument[:end], strings.TrimSpace(argument[end:])
	}
	mechanism = strings.ToUpper(mechanism)
	access := c.server.policy.Access(c.identity)
	offered := c.offeredAuth()
	switch {
	case access.RequireTLS && !c.secure.Load():
		return c.writeReply(reply.New(538, 7, 11, "TLS is required before a login: turn on TLS or STARTTLS on the device"))
	case len(offered) == 0:
		return c.writeReply(reply.New(502, 5, 1, "this relay needs no user name and no password: turn SMTP authentication off on the device"))
	case c.identity.User != nil, c.inTransaction.Load():
		return c.writeReply(reply.New(503, 5, 1, "AUTH is not possible now: the client has logged in already, or a message has begun"))
	}
	var (
		given credentials
		err   error
	)
	switch mechanism {
	case "PLAIN":
		given, err = c.plain(initial)
	case "LOGIN":
		given, err = c.login(initial)
	case "CRAM-MD5":
		given, err = c.cramMD5()
	default:
		return c.writeReply(reply.New(504, 5, 4, "%s is not supported: choose one of %s on the device", mechanismName(mechanism), strings.Join(offered, ", ")))
	}
	switch {
	case errors.Is(err, errCancelled):
		return c.writeReply(reply.New(501, 5, 0, "the login was cancelled"))
	case errors.Is(err, errMalformed):
		return c.writeReply(reply.New(501, 5, 2, "the login cannot be read: %v", err))
	case err != nil:
		return err
	}
	given.mechanism = mechanism
	return c.writeReply(c.checkLogin(access, given))
}

// checkLogin logs the client in, or returns the reply that refuses it.
func (c *clientConn) checkLogin(access policy.Access, given credentials) reply.Reply {
	if access.Device.Auth == policy.AnyLogin {
		return c.loggedIn(given)
	}
	s := c.server
	refuse := func(r reply.Reply) reply.Reply {
		s.journal.LoginRefused(c.client, given.name, given.mechanism, r)
		return r
	}
	if wait := s.logins.delay(c.client, given.name); wait > 0 {
		return refuse(tooManyLogins(wait))
	}
	user, known := s.config.Users.User(given.name)
	ctx, cancel := context.WithTimeout(s.context, authTimeout)
	defer cancel()
	right := false
	if given.mechanism == "CRAM-MD5" {
		right = s.config.Users.AnswersChallenge(ctx, given.name, given.challenge, given.digest)
	} else {
		right = s.config.Users.Authenticate(ctx, given.name, given.password)
	}
	if ctx.Err() != nil {
		return reply.New(454, 7, 0, "the login could not be checked in time: try again")
	}
	if !right || !known {
		// Guesses over many connections at once are checked before the first one is wrong.
		if wait := s.logins.record(c.client, given.name, false); wait > 0 {
			return refuse(tooManyLogins(wait))
		}
		return refuse(wrongLogin(given.mechanism))
	}
	if wait := s.logins.delay(c.client, given.name); wait > 0 {
		return refuse(tooManyLogins(wait))
	}
	used, v := s.policy.LogIn(c.identity, user)
	if v.Refused() {
		return refuse(v.Reply)
	}
	s.logins.record(c.client, given.name, true)
	c.identity.User = used
	return c.loggedIn(given)
}

func (c *clientConn) loggedIn(given credentials) reply.Reply {
	c.observe(func(o *observed) { o.login = given.mechanism })
	return reply.New(235, 7, 0, "logged in")
}

// wrongLogin is the reply to a login that is not a user's. It is the same whether there is
// a user of that name, so that nobody can find out names.
func wrongLogin(mechanism string) reply.Reply {
	if mechanism == "CRAM-MD5" {
		return reply.New(535, 7, 8, "the user name or the password is wrong, or the user was added without CRAM-MD5: correct them on the device, or choose LOGIN or PLAIN there")
	}
	return reply.New(535, 7, 8, "the user name or the password is wrong: correct them on the device")
}

// refreshUser looks the user up again, who may have been changed or removed since the
// login. It returns the reply for one who could not log in now.
func (c *clientConn) refreshUser() reply.Reply {
	if c.identity.User == nil {
		return reply.Reply{}
	}
	end := func(text string) reply.Reply {
		c.identity.User = nil
		c.endAfterReply()
		return reply.New(421, 7, 0, "%s", text)
	}
	user, known := c.server.config.Users.User(c.identity.User.Name)
	if !known {
		return end("the user of this session was removed")
	}
	if user.Password != c.identity.User.Password {
		return end("the password of this session's user was changed: set it on the device")
	}
	used, v := c.server.policy.LogIn(c.identity, user)
	if v.Refused() {
		return end("the user of this session may no longer log in from here")
	}
	c.identity.User = used
	return reply.Reply{}
}

func tooManyLogins(wait time.Duration) reply.Reply {
	return reply.New(454, 7, 0, "too many wrong passwords: try again in %s", (wait + time.Second - 1).Truncate(time.Second))
}

// plain reads the message of PLAIN (RFC 4616): authorization identity, name, password.
func (c *clientConn) plain(initial string) (credentials, error) {
	message, err := c.response(initial, "")
	if err != nil {
		return credentials{}, err
	}
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 {
		return credentials{}, malformed("PLAIN has an identity, a name and a password")
	}
	return credentials{name: string(parts[1]), password: string(parts[2])}, nil
}

// login reads the two responses of LOGIN. Devices hang up at prompts other than these.
func (c *clientConn) login(initial string) (credentials, error) {
	name, err := c.response(initial, "Username:")
	if err != nil {
		return credentials{}, err
	}
	password, err := c.response("", "Password:")
	return credentials{name: string(name), password: string(password)}, err
}

// cramMD5 sends a challenge and reads the response (RFC 2195).
func (c *clientConn) cramMD5() (credentials, error) {
	challenge := fmt.Sprintf("<%s.%d@%s>", rand.Text(), time.Now().Unix(), c.sessions.config.Hostname)
	response, err := c.response("", challenge)
	if err != nil {
		return credentials{}, err
	}
	at := bytes.LastIndexByte(response, ' ')
	digest, err := hex.DecodeString(string(response[at+1:]))
	if at < 0 || err != nil {
		return credentials{}, malformed("CRAM-MD5 has a name and a digest in hexadecimal")
	}
	return credentials{name: string(response[:at]), challenge: []byte(challenge), digest: digest}, nil
}

// response returns the initial response, or else asks for one with a challenge.
func (c *clientConn) response(initial, challenge string) ([]byte, error) {
	if initial == "" {
		line := "334 " + base64.StdEncoding.EncodeToString([]byte(challenge)) + "\r\n"
		if _, err := c.stream.Write([]byte(line)); err != nil {
			return nil, err
		}
		answer, err := c.readLine()
		if err != nil {
			return nil, err
		}
		initial = strings.Trim(string(answer), " \t\r\n")
	}
	const longest = 12288 // RFC 4954 section 4
	switch {
	case initial == "*":
		return nil, errCancelled
	case initial == "=":
		return nil, nil
	case len(initial) > longest:
		return nil, malformed("a response may have %d octets", longest)
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(initial, "="))
	if err != nil {
		return nil, malformed("it is not base64")
	}
	return decoded, nil
}

// errMalformed is the error of a response that cannot be read.
var errMalformed = errors.New("malformed")

type malformedError string

func (e malformedError) Error() string        { return string(e) }
func (e malformedError) Is(target error) bool { return target == errMalformed }

func malformed(format string, args ...any) error { return malformedError(fmt.Sprintf(format, args...)) }

// mechanismName names a mechanism that is not supported. Anything else may be a password,
// which must not be in a reply: replies are journalled.
func mechanismName(mechanism string) string {
	known := []string{"ANONYMOUS", "DIGEST-MD5", "EXTERNAL", "GSSAPI", "KERBEROS_V4", "NTLM", "OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2"}
	if slices.Contains(known, mechanism) {
		return "AUTH " + mechanism
	}
	return "this kind of AUTH"
}
