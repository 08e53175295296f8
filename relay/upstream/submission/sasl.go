package submission

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

const xoauth2 = "XOAUTH2"

// tokenMechanism is a SASL mechanism with an access token. The server sends the
// reason of a rejection in a challenge.
type tokenMechanism struct {
	sasl.Client
	token             Token
	challengeResponse []byte // response to the error challenge
	reason            []byte
}

// chooseMechanism returns the mechanism to use, or "" if none is offered.
func chooseMechanism(offered []string) string {
	for _, mechanism := range []string{xoauth2, sasl.OAuthBearer} {
		if slices.Contains(offered, mechanism) {
			return mechanism
		}
	}
	return ""
}

// newTokenMechanism returns the chosen mechanism.
func newTokenMechanism(chosen, user string, token Token, host string, port int) *tokenMechanism {
	if chosen == xoauth2 {
		return &tokenMechanism{token: token, Client: &xoauth2Client{user, token}}
	}
	// RFC 7628 section 3.2.3: the response to the error is one octet.
	return &tokenMechanism{token: token, challengeResponse: []byte{1}, Client: sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
		Username: gs2Escape.Replace(user), Token: string(token), Host: host, Port: port})}
}

// gs2Escape escapes a name as in RFC 5801 section 4.
var gs2Escape = strings.NewReplacer("=", "=3D", ",", "=2C")

// Next implements sasl.Client.
func (b *tokenMechanism) Next(challenge []byte) ([]byte, error) {
	b.reason = challenge
	return b.challengeResponse, nil
}

// Secret returns the token, which esmtp redacts.
func (b *tokenMechanism) Secret() string { return string(b.token) }

// xoauth2Client implements XOAUTH2 as documented by Microsoft:
// learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
type xoauth2Client struct {
	user  string
	token Token
}

func (x *xoauth2Client) Start() (string, []byte, error) {
	return xoauth2, []byte("user=" + x.user + "\x01auth=Bearer " + string(x.token) + "\x01\x01"), nil
}

// Next is overridden by tokenMechanism.
func (x *xoauth2Client) Next([]byte) ([]byte, error) { return nil, nil }

// reasonText describes the server's reason for a rejection, or returns "".
func (b *tokenMechanism) reasonText() string {
	var reason struct{ Status, Schemes, Scope string }
	if len(b.reason) == 0 {
		return ""
	}
	if json.Unmarshal(b.reason, &reason) != nil {
		return "unreadable reason"
	}
	var parts []string
	for _, p := range []struct{ name, value string }{{"status", reason.Status}, {"schemes", reason.Schemes}, {"scope", reason.Scope}} {
		if p.value != "" {
			parts = append(parts, fmt.Sprintf("%s %s", p.name, sanitise(p.value, b.token)))
		}
	}
	return strings.Join(parts, ", ")
}

// sanitise shortens a server's text and removes control characters and the
// token.
func sanitise(text string, token Token) string {
	const maxLen = 100
	if token != "" {
		text = strings.ReplaceAll(text, string(token), redacted)
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), maxLen)]
}
