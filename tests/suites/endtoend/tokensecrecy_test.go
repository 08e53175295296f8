package endtoend

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// addToken adds overlapping parts of a token or another text secret. Of a JWT it adds
// only the signature, because the rest is no secret without it.
func (p *patterns) addToken(name, token string) {
	if parts := strings.Split(token, "."); len(parts) == 3 && strings.HasPrefix(token, "ey") {
		token = parts[2]
	}
	for i := 0; i+minMatch <= len(token); i += minMatch / 2 {
		p.addEncoded(fmt.Sprintf("%s from character %d", name, i), []byte(token[i:i+minMatch]))
	}
}

// echoRequest rejects a request and repeats it in the response.
func echoRequest(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, r.PostForm.Encode())
}

// processEnvironments returns the command lines and environments of all processes.
func processEnvironments(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"cmdline", "environ"} {
		files, err := filepath.Glob("/proc/[0-9]*/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			// Processes may end in the meantime.
			text, _ := os.ReadFile(file)
			all.Write(text)
		}
	}
	return all.String()
}

// diagnosticCommands are the commands that print settings or state.
var diagnosticCommands = [][]string{
	{"check"}, {"config", "check", "sealpost.toml"}, {"journal"}, {"journal", "--conversation"}, {"queue", "list"}, {"queue", "list", "--json"},
	{"spool", "stat"}, {"spool", "dump"}, {"tpm"}, {"tenant", "script"}, {"tenant", "verify"}, {"tenant", "verify", "--json", "--to", recipient},
}

// provokeFailures provokes a failure of the issuer and of the login, and returns all
// output of the box.
func (s *site) provokeFailures(issuer *issuerProxy, host *tenant.Tenant, revoke func()) string {
	s.t.Helper()
	var output strings.Builder
	record := func(args ...string) {
		result := s.run(args...)
		fmt.Fprintf(&output, "%v\n%s%s\n", args, result.Out, result.Err)
	}
	issuer.setHandler(echoRequest)
	s.start()
	s.mustQueue("(invalid_client)")
	record("tenant", "verify")
	s.stop()
	output.WriteString(s.relay.Log.String())
	issuer.setHandler(nil)
	s.start()
	s.awaitEmpty()
	revoke()
	host.DropConnections()
	s.mustQueue("the login of " + sender + " was refused")
	for _, args := range diagnosticCommands {
		record(args...)
	}
	output.WriteString(processEnvironments(s.t))
	s.stop()
	output.WriteString(s.relay.Log.String())
	return output.String()
}

func TestSecrets_AreSentOnlyToTheUpstream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		grant      string
		protection string
		secret     string // the form field with the secret of this grant
	}{
		{"certificate", "tpm", "client_assertion"},
		{"secret", "tpm", "client_secret"}, {"device", "tpm", refreshToken},
		{"secret", "file", "client_secret"}, {"device", "file", refreshToken},
	} {
		t.Run(c.grant+" protected by "+c.protection, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, siteConfig{protection: c.protection, upstream: "messages_per_minute = 0", journal: "conversation = true"})
			client := parts.IssuerClient{}
			switch c.grant {
			case "certificate":
				client.Certificate = s.certificate()
			case "secret":
				client.Secret = clientSecret
			}
			issuer := startIssuer(t, client)
			proxy := startIssuerProxy(t, issuer)
			reject := make(chan struct{})
			host := startMailbox(t, func(token string) string {
				select {
				case <-reject:
					// Some servers repeat the token that they reject.
					return "535 5.7.3 Authentication unsuccessful: " + token
				default:
					return ""
				}
			}, tenant.Submission{})
			s.configureSubmission(host.Address().Port, proxy.tokenURL(issuer), fmt.Sprintf("grant = %q", c.grant))
			output := ""
			switch c.grant {
			case "secret":
				output = s.enterSecret()
			case "device":
				output = s.signIn(issuer)
			}
			output += s.provokeFailures(proxy, host, func() { close(reject) })
			if !strings.Contains(output, `> AUTH XOAUTH2`) || !strings.Contains(output, "535 5.7.3") {
				t.Errorf("the output lacks the conversation with the upstream:\n%.3000s", output)
			}
			secrets := secretsOf(t, issuer, c.secret)
			if found := secrets.findIn([]byte(output)); len(found) > 0 {
				t.Errorf("got secrets in the output: %.300q", found)
			}
			inState := secrets.findIn(bytes.Join(decodeNested(s.read("box.state")), nil))
			// Secrets in a file must be found, which shows that the search works.
			if want := c.protection == "file"; len(inState) > 0 != want {
				t.Errorf("got secrets in the state: %.300q, want some: %v", inState, want)
			}
		})
	}
}

// secretsOf returns all secrets sent to and by the issuer. They must include the form
// field and an access token.
func secretsOf(t *testing.T, issuer *parts.Issuer, field string) *patterns {
	t.Helper()
	var searched patterns
	for i, secret := range issuer.Secrets() {
		searched.addToken(fmt.Sprintf("secret %d", i), secret)
	}
	for _, request := range issuer.Requests() {
		if request.Form.Get(field) != "" && request.Response["access_token"] != nil {
			return &searched
		}
	}
	t.Errorf("the issuer got no request with %s", field)
	return &searched
}
