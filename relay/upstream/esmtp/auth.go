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

// ErrNotVerified is the error of a login where somebody else could hear it.
var ErrNotVerified = errors.New("a login is made only under TLS, with a server whose certificate was verified")

// Bounds on a login. RFC 4954 section 4 takes 12288 octets for enough of a
// response in base64; a challenge is bounded as every reply is. A command has no
// more octets than RFC 5321 section 4.5.3.1.4 says, with its end.
const (
	maxCommand    = 512
	maxResponse   = 12288
	maxChallenges = 4
)

const redaction = "[redacted]"

// Mechanisms are those of SASL that the server offers, in upper case (RFC 4954
// section 3).
func (c *Client) Mechanisms() []string {
	return strings.Fields(strings.ToUpper(c.extensions["AUTH"]))
}

// Auth logs in by a SASL mechanism (RFC 4954 section 4). The error is a
// *Refusal where the server would not have it; another login may be tried then.
// A mechanism that has a method Secret() string tells by it what of its response
// is not to be seen where the server says it again.
func (c *Client) Auth(ctx context.Context, mechanism sasl.Client) error {
	if !c.verified {
		return ErrNotVerified
	}
	name, initial, err := mechanism.Start()
	if err != nil {
		return fmt.Errorf("beginning the login: %w", err)
	}
	c.response = ""
	if m, some := mechanism.(interface{ Secret() string }); some {
		c.secret = m.Secret()
	}
	command := "AUTH " + name
	r, err := c.begin(ctx, command, initial)
	for range maxChallenges {
		if err != nil || r.Code != 334 {
			break
		}
		r, err = c.answer(ctx, mechanism, r.Text)
	}
	if err != nil {
		return err
	}
	if r.Code != 235 {
		return &Refusal{command, r}
	}
	return nil
}

// begin says AUTH; a nil response is not sent, an empty one as RFC 4954 has it.
// One for which the command has no room waits until it is asked for: Gmail and
// Dovecot do not take a longer command.
func (c *Client) begin(ctx context.Context, command string, initial []byte) (reply.Reply, error) {
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

// answer meets one challenge.
func (c *Client) answer(ctx context.Context, mechanism sasl.Client, challenge string) (reply.Reply, error) {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	if err != nil {
		return reply.Reply{}, fmt.Errorf("reading the challenge of a login: %w", err)
	}
	response, err := mechanism.Next(decoded)
	if err != nil {
		return reply.Reply{}, fmt.Errorf("answering the challenge of a login: %w", err)
	}
	return c.respond(ctx, "", response)
}

// respond sends a response, which nobody but the server sees.
func (c *Client) respond(ctx context.Context, before string, response []byte) (reply.Reply, error) {
	secret := base64.StdEncoding.EncodeToString(response)
	if len(secret) > maxResponse {
		return reply.Reply{}, fmt.Errorf("the response of a login takes %d octets, of %d that it may", len(secret), maxResponse)
	}
	shown := before
	if secret != "" {
		shown = before + redaction
	}
	if len(secret) > len(c.response) { // what answers a challenge holds no secret
		c.response = secret
	}
	if err := c.sayAs(ctx, []string{shown}, []string{before + secret}); err != nil {
		return reply.Reply{}, err
	}
	return c.hear(ctx, "AUTH")
}

// redacted is what a server said, without our secrets: some repeat a command
// that they do not know, or a token that they do not take.
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
