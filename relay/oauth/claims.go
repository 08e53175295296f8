package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"
)

// Claims are the claims of a token (RFC 7519, RFC 9068, Entra ID). They are not
// verified: they help a person to find a missing configuration step. All text
// is printable and of limited length.
type Claims struct {
	Audience []string  // aud
	Roles    []string  // roles: application permissions
	Scopes   []string  // scp: delegated permissions
	AppID    string    // appid or azp: the client ID
	Tenant   string    // tid
	Object   string    // oid of the user or the enterprise application
	User     string    // upn
	Expires  time.Time // exp, by the issuer's clock; zero if missing
}

var (
	// ErrOpaque is the error of a token that is not a JWT, which is not a fault.
	ErrOpaque = errors.New("the access token is opaque: its permissions cannot be read")
	// ErrClaims is the error of a JWT whose claims are malformed.
	ErrClaims = errors.New("the access token is a JWT, but its claims cannot be read")
)

const (
	maxClaims = 100 // in a list
	maxClaim  = 300 // runes
)

// Claims decodes the token's claims.
func (t Token) Claims() (Claims, error) {
	parts := strings.Split(t.Bearer.Reveal(), ".")
	var header struct {
		Algorithm string `json:"alg"`
	}
	if len(parts) != 3 || len(t.Bearer.Reveal()) > maxToken || decodeJSON(parts[0], &header) != nil || header.Algorithm == "" {
		return Claims{}, ErrOpaque
	}
	var c struct {
		Audience list    `json:"aud"`
		Roles    list    `json:"roles"`
		Scopes   string  `json:"scp"`
		AppID    string  `json:"appid"`
		Party    string  `json:"azp"`
		Tenant   string  `json:"tid"`
		Object   string  `json:"oid"`
		User     string  `json:"upn"`
		Expires  float64 `json:"exp"`
	}
	if decodeJSON(parts[1], &c) != nil {
		return Claims{}, ErrClaims
	}
	if c.AppID == "" {
		c.AppID = c.Party
	}
	claims := Claims{
		Audience: cleanAll(c.Audience), Roles: cleanAll(c.Roles), Scopes: cleanAll(strings.Fields(c.Scopes)),
		AppID: clean(c.AppID), Tenant: clean(c.Tenant), Object: clean(c.Object), User: clean(c.User),
	}
	if c.Expires > 0 && c.Expires < 1<<40 {
		claims.Expires = time.Unix(int64(c.Expires), 0)
	}
	return claims, nil
}

func decodeJSON(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(part, "="))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// list is one string or several (RFC 7519 section 4.1.3).
type list []string

func (l *list) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		*l = make(list, 1)
		return json.Unmarshal(text, &(*l)[0])
	}
	return json.Unmarshal(text, (*[]string)(l))
}

func cleanAll(texts []string) []string {
	var all []string
	for _, text := range texts[:min(len(texts), maxClaims)] {
		all = append(all, clean(text))
	}
	return all
}

// clean removes control characters and truncates the text.
func clean(text string) string {
	kept := 0
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || kept >= maxClaim {
			return -1
		}
		kept++
		return r
	}, text)
}
