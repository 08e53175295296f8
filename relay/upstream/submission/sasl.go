package submission

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

const xoauth2 = "XOAUTH2"

// bearer is a SASL mechanism that shows a token. It is given the server's
// reason for a refusal in a challenge.
type bearer struct {
	sasl.Client
	token  Token
	dummy  []byte // what answers the challenge
	reason []byte
}

// choose gives the mechanism to log in by; empty where none is offered.
func choose(offered []string) string {
	for _, mechanism := range []string{xoauth2, sasl.OAuthBearer} {
		if slices.Contains(offered, mechanism) {
			return mechanism
		}
	}
	return ""
}

// newBearer gives the mechanism that was chosen.
func newBearer(chosen, user string, token Token, host string, port int) *bearer {
	if chosen == xoauth2 {
		return &bearer{token: token, Client: &xoauth2Client{user, token}}
	}
	// RFC 7628 section 3.2.3: the answer to the reason is one octet.
	return &bearer{token: token, dummy: []byte{1}, Client: sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
		Username: gs2Escape.Replace(user), Token: string(token), Host: host, Port: port})}
}

// gs2Escape writes a name as RFC 5801 section 4 has it.
var gs2Escape = strings.NewReplacer("=", "=3D", ",", "=2C")

// Next implements sasl.Client.
func (b *bearer) Next(challenge []byte) ([]byte, error) {
	b.reason = challenge
	return b.dummy, nil
}

// Secret is the token, for the client's record of the dialogue.
func (b *bearer) Secret() string { return string(b.token) }

// xoauth2Client begins as Microsoft describes it for SMTP:
// learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
type xoauth2Client struct {
	user  string
	token Token
}

func (x *xoauth2Client) Start() (string, []byte, error) {
	return xoauth2, []byte("user=" + x.user + "\x01auth=Bearer " + string(x.token) + "\x01\x01"), nil
}

// Next is bearer's.
func (x *xoauth2Client) Next([]byte) ([]byte, error) { return nil, nil }

// words puts the server's reason for a refusal into words; they are empty where
// it gave none.
func (b *bearer) words() string {
	var reason struct{ Status, Schemes, Scope string }
	if len(b.reason) == 0 {
		return ""
	}
	if json.Unmarshal(b.reason, &reason) != nil {
		return "a reason that cannot be read"
	}
	var parts []string
	for _, p := range []struct{ name, value string }{{"status", reason.Status}, {"schemes", reason.Schemes}, {"scope", reason.Scope}} {
		if p.value != "" {
			parts = append(parts, fmt.Sprintf("%s %s", p.name, plain(p.value, b.token)))
		}
	}
	return strings.Join(parts, ", ")
}

// plain is a short text of the server's without control characters, or the
// token.
func plain(text string, token Token) string {
	const most = 100
	if token != "" {
		text = strings.ReplaceAll(text, string(token), redacted)
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), most)]
}
