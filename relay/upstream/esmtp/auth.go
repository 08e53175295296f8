package esmtp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"

	"sealpost/relay/reply"
)

// ErrNotVerified is the error of a login over a connection that is not verified
// TLS.
var ErrNotVerified = errors.New("refusing to log in without TLS and a verified server certificate")

// Limits of a login: a response has at most 12288 octets in base64 (RFC 4954
// section 4), and a command 512 octets including CRLF (RFC 5321 section
// 4.5.3.1.4).
const (
	maxCommand    = 512
	maxResponse   = 12288
	maxChallenges = 4
)

const redaction = "[redacted]"

// Mechanisms returns the SASL mechanisms that the server offers, in upper case
// (RFC 4954 section 3).
func (c *Client) Mechanisms() []string {
	return strings.Fields(strings.ToUpper(c.extensions["AUTH"]))
}

// Auth logs in with a SASL mechanism (RFC 4954 section 4). The error is an
// *UnexpectedReply if the server rejects the login; another may be tried then.
// If the mechanism has a method Secret() string, its result is redacted
// wherever the server repeats it.
func (c *Client) Auth(ctx context.Context, mechanism sasl.Client) error {
	if !c.verified {
		return ErrNotVerified
	}
	name, initial, err := mechanism.Start()
	if err != nil {
		return fmt.Errorf("starting authentication: %w", err)
	}
	c.response = ""
	if m, ok := mechanism.(interface{ Secret() string }); ok {
		c.secret = m.Secret()
	}
	command := "AUTH " + name
	r, err := c.startAuth(ctx, command, initial)
	for range maxChallenges {
		if err != nil || r.Code != 334 {
			break
		}
		r, err = c.respondToChallenge(ctx, mechanism, r.Text)
	}
	if err != nil {
		return err
	}
	if r.Code != 235 {
		return &UnexpectedReply{command, r}
	}
	return nil
}

// startAuth sends AUTH. A nil initial response is omitted, an empty one is sent
// as "=". A response that does not fit the command is sent after the server's
// 334: Gmail and Dovecot reject longer commands.
func (c *Client) startAuth(ctx context.Context, command string, initial []byte) (reply.Reply, error) {
	switch {
	case initial == nil:
		return c.command(ctx, command)
	case len(initial) == 0:
		return c.command(ctx, command+" =")
	case len(command+" ")+base64.StdEncoding.EncodedLen(len(initial))+len("\r\n") > maxCommand:
		if r, err := c.command(ctx, command); err != nil || r.Code != 334 {
			return r, err
		}
		return c.respond(ctx, "", initial)
	}
	return c.respond(ctx, command+" ", initial)
}

// respondToChallenge responds to one challenge.
func (c *Client) respondToChallenge(ctx context.Context, mechanism sasl.Client, challenge string) (reply.Reply, error) {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	if err != nil {
		return reply.Reply{}, fmt.Errorf("decoding the SASL challenge: %w", err)
	}
	response, err := mechanism.Next(decoded)
	if err != nil {
		return reply.Reply{}, fmt.Errorf("responding to the SASL challenge: %w", err)
	}
	return c.respond(ctx, "", response)
}

// respond sends a response, redacted for the observer.
func (c *Client) respond(ctx context.Context, prefix string, response []byte) (reply.Reply, error) {
	secret := base64.StdEncoding.EncodeToString(response)
	if len(secret) > maxResponse {
		return reply.Reply{}, fmt.Errorf("the SASL response has %d octets, more than %d", len(secret), maxResponse)
	}
	observed := prefix
	if secret != "" {
		observed = prefix + redaction
	}
	if len(secret) > len(c.response) { // the response to an error challenge is shorter and contains no secret
		c.response = secret
	}
	if err := c.sendRedacted(ctx, []string{observed}, []string{prefix + secret}); err != nil {
		return reply.Reply{}, err
	}
	return c.readReply(ctx, "AUTH")
}

// redacted removes our secrets from a server's text: some servers repeat an
// unknown command or a rejected token.
func (c *Client) redacted(text string) string {
	challenge, challenged := strings.CutPrefix(text, "334 ")
	if decoded, err := base64.StdEncoding.DecodeString(challenge); challenged && err == nil && c.secret != "" && strings.Contains(string(decoded), c.secret) {
		return "334 " + redaction
	}
	for _, secret := range []string{c.response, c.secret} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, redaction)
		}
	}
	return text
}
