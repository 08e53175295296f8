package oauth

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func jwt(header, claims string) Token {
	return Token{Bearer: NewSecret(encode([]byte(header)) + "." + encode([]byte(claims)) + ".c2lnbmF0dXJl")}
}

func TestClaims_AreReadFromAToken(t *testing.T) {
	const header = `{"typ":"JWT","alg":"RS256","x5t":"abc"}`
	for name, c := range map[string]struct {
		token Token
		want  Claims
		err   error
	}{
		"app-only": {jwt(header, `{"aud":"https://outlook.office365.com","appid":"a","roles":["SMTP.SendAsApp"],"tid":"t","oid":"o","exp":1700000000}`),
			Claims{Audience: []string{"https://outlook.office365.com"}, Roles: []string{"SMTP.SendAsApp"}, AppID: "a", Tenant: "t", Object: "o", Expires: time.Unix(1700000000, 0)}, nil},
		"delegated, v2": {jwt(header, `{"aud":["x","y"],"azp":"a","scp":"SMTP.Send  User.Read","upn":"scan@contoso.com","exp":1.7e9}`),
			Claims{Audience: []string{"x", "y"}, Scopes: []string{"SMTP.Send", "User.Read"}, AppID: "a", User: "scan@contoso.com", Expires: time.Unix(1700000000, 0)}, nil},
		"escapes":       {jwt(header, `{"upn":"a\u001b[2J\nb","exp":-1}`), Claims{User: "a[2Jb"}, nil},
		"opaque":        {Token{Bearer: NewSecret("0.AAAA")}, Claims{}, ErrOpaque},
		"three parts":   {Token{Bearer: NewSecret("a.b.c")}, Claims{}, ErrOpaque},
		"encrypted":     {Token{Bearer: NewSecret("a.b.c.d.e")}, Claims{}, ErrOpaque},
		"empty":         {Token{}, Claims{}, ErrOpaque},
		"another form":  {jwt(header, `{"aud":{"a":1}}`), Claims{}, ErrClaims},
		"no claims":     {jwt(header, `[]`), Claims{}, ErrClaims},
		"cut off":       {jwt(header, `{"aud":"x`), Claims{}, ErrClaims},
		"beyond bounds": {jwt(header, `{"aud":"`+strings.Repeat("a", maxToken)+`"}`), Claims{}, ErrOpaque},
	} {
		if got, err := c.token.Claims(); !errors.Is(err, c.err) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Claims() = %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func FuzzClaims(f *testing.F) {
	f.Add(jwt(`{"alg":"RS256"}`, `{"aud":["a"],"roles":["b"],"scp":"c d","exp":1}`).Bearer.Reveal())
	f.Add("a.b.c")
	f.Add(jwt(`{"alg":"RS256"}`, `{"aud":null,"roles":"one"}`).Bearer.Reveal())
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := Token{Bearer: NewSecret(token)}.Claims()
		if err != nil && !reflect.DeepEqual(claims, Claims{}) {
			t.Errorf("%+v beside %v", claims, err)
		}
		texts := append([]string{claims.AppID, claims.Tenant, claims.Object, claims.User}, claims.Audience...)
		texts = append(append(texts, claims.Roles...), claims.Scopes...)
		for _, text := range texts {
			if clean(text) != text || utf8.RuneCountInString(text) > maxClaim || len(texts) > 3*maxClaims+4 {
				t.Errorf("got %q", text)
			}
		}
	})
}
