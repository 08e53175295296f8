package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// printed returns a value in all formats of fmt, JSON and slog.
func printed(v any) string {
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "v", v)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&log, verb+"\n", v)
	}
	json.NewEncoder(&log).Encode(v)
	if err, isError := v.(error); isError {
		fmt.Fprintln(&log, err, errors.Unwrap(err))
	}
	return log.String()
}

func wantHidden(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), url.QueryEscape(secret)} {
			if at := strings.Index(strings.ToLower(text), strings.ToLower(form)); at >= 0 {
				t.Errorf("a secret is in %q", text[max(at-80, 0):min(at+80, len(text))])
			}
		}
	}
}

func TestSecret_IsNeverPrinted(t *testing.T) {
	const text = "S3cr3t/+Value"
	type hides struct{ hidden Secret }
	type shows struct {
		Token Token
		Seen  *Secret
		hides hides
	}
	s := NewSecret(text)
	grant := must(must(New(Config{TokenURL: "https://a.example/t", ClientID: "c"})).ClientSecret(s))
	for _, v := range []any{s, &s, []Secret{s}, map[string]Secret{"a": s}, [1]hides{{s}}, hides{s},
		Token{Bearer: s}, shows{Token{Bearer: s}, &s, hides{s}}, grant, NewTokenSource(grant, nil)} {
		wantHidden(t, printed(v), text)
	}
	if got := fmt.Sprintf("%v %+v %#v %s %d %x", s, s, s, s, s, s); got != strings.TrimSpace(strings.Repeat("[redacted] ", 6)) ||
		s.String() != "[redacted]" || s.Reveal() != text {
		t.Errorf("got printed %s, revealed %q", got, s.Reveal())
	}
}

// The issuer echoes the complete request in every part of its response, which is
// the worst case for a fault.
func TestErrors_ContainNoSecret(t *testing.T) {
	echoes := map[string]func(w http.ResponseWriter, sent string){
		"as an error":           func(w http.ResponseWriter, sent string) { echoJSON(w, 400, sent, sent) },
		"as a known error":      func(w http.ResponseWriter, sent string) { echoJSON(w, 400, "invalid_client", sent) },
		"as an error, with 200": func(w http.ResponseWriter, sent string) { echoJSON(w, 200, sent, sent) },
		"as a page":             func(w http.ResponseWriter, sent string) { w.WriteHeader(500); io.WriteString(w, "<html>"+sent) },
		"as text": func(w http.ResponseWriter, sent string) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(400)
			io.WriteString(w, "error="+sent)
		},
		"in Location": func(w http.ResponseWriter, sent string) {
			w.Header().Set("Location", "https://x.example/"+sent)
			w.WriteHeader(302)
		},
		"in Retry-After": func(w http.ResponseWriter, sent string) { w.Header().Set("Retry-After", sent); w.WriteHeader(429) },
		"as no HTTP":     func(w http.ResponseWriter, sent string) { hijacked(sent+"\r\n\r\n")(w, nil) },
		"as a status":    func(w http.ResponseWriter, sent string) { hijacked("HTTP/1.1 "+sent+"\r\n\r\n")(w, nil) },
		"as a header":    func(w http.ResponseWriter, sent string) { hijacked("HTTP/1.1 200 OK\r\n"+sent+"\r\n\r\n")(w, nil) },
		"as a token and its type": func(w http.ResponseWriter, sent string) {
			io.WriteString(w, `{"access_token":"`+sent+`","token_type":"`+sent+`"}`)
		},
	}
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			var sent string
			server := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				r.ParseForm()
				sent = r.PostForm.Get("client_secret") + r.PostForm.Get("client_assertion") + r.PostForm.Get("refresh_token")
				echo(w, sent)
			})
			for _, grant := range grants(t, server) {
				k := NewTokenSource(grant, nil)
				_, err := k.Token(t.Context())
				k.Close()
				if err == nil || sent == "" {
					t.Fatalf("%s: %v after %q", grant.Name(), err, sent)
				}
				wantHidden(t, printed(err)+printed(k), sent)
			}
		})
	}
}

func grants(t *testing.T, server *httptest.Server) []Grant {
	issuer, identity := newIssuer(t, server, nil), newIdentity(t)
	return []Grant{
		must(issuer.ClientSecret(NewSecret("S3cr3t/+Value"))),
		must(issuer.Certificate(identity, identity.leaf, PS256)),
		issuer.Delegated(&memoryStore{stored: "0.R3fr3sh-Token"}),
	}
}

func echoJSON(w http.ResponseWriter, status int, code, sent string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": code, "error_description": sent, "error_uri": sent,
		"access_token": sent, "refresh_token": sent, "trace_id": sent, "error_codes": []any{sent}})
}
