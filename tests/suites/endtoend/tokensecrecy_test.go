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

// addToken adds a token or another secret of characters piece by piece: of a JWT
// its signature, without which the rest opens nothing and is no secret.
func (n *needles) addToken(name, token string) {
	if parts := strings.Split(token, "."); len(parts) == 3 && strings.HasPrefix(token, "ey") {
		token = parts[2]
	}
	for i := 0; i+piece <= len(token); i += piece / 2 {
		n.addEncoded(fmt.Sprintf("%s from character %d", name, i), []byte(token[i:i+piece]))
	}
}

// repeating is an issuer that refuses, and says again what it was told.
func repeating(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, r.PostForm.Encode())
}

// processes is what ps could show of all that run.
func processes(t *testing.T) string {
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

// showing are the commands that show what the box is and has.
var showing = [][]string{
	{"check"}, {"config", "check", "sealpost.toml"}, {"journal"}, {"journal", "--conversation"}, {"queue", "list"}, {"queue", "list", "--json"},
	{"spool", "stat"}, {"spool", "dump"}, {"tpm"}, {"tenant", "script"}, {"tenant", "verify"}, {"tenant", "verify", "--json", "--to", recipient},
}

// fail has everything go wrong once that may, and gives all that the box said of
// it.
func (s *site) fail(issuer *front, host *tenant.Tenant, revoke func()) string {
	s.t.Helper()
	var said strings.Builder
	note := func(args ...string) {
		result := s.run(args...)
		fmt.Fprintf(&said, "%v\n%s%s\n", args, result.Out, result.Err)
	}
	issuer.behave(repeating)
	s.start()
	s.mustKeep("(invalid_client)")
	note("tenant", "verify")
	s.stop()
	said.WriteString(s.relay.Log.String())
	issuer.behave(nil)
	s.start()
	s.awaitEmpty()
	revoke()
	host.DropConnections()
	s.mustKeep("the login of " + sender + " was refused")
	for _, args := range showing {
		note(args...)
	}
	said.WriteString(processes(s.t))
	s.stop()
	said.WriteString(s.relay.Log.String())
	return said.String()
}

func TestSecrets_AreShownToTheUpstreamAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		grant      string
		protection string
		shown      string // the kind of secret that this grant is about
	}{
		{"certificate", "tpm", "client_assertion"},
		{"secret", "tpm", "client_secret"}, {"device", "tpm", refreshToken},
		{"secret", "file", "client_secret"}, {"device", "file", refreshToken},
	} {
		t.Run(c.grant+" protected by "+c.protection, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, told{protection: c.protection, upstream: "messages_per_minute = 0", journal: "conversation = true"})
			client := parts.IssuerClient{}
			switch c.grant {
			case "certificate":
				client.Certificate = s.certificate()
			case "secret":
				client.Secret = clientSecret
			}
			issuer := startIssuer(t, client)
			before := startFront(t, issuer)
			refuse := make(chan struct{})
			host := startMailbox(t, func(token string) string {
				select {
				case <-refuse:
					// Some servers say again what they do not take.
					return "535 5.7.3 Authentication unsuccessful: " + token
				default:
					return ""
				}
			}, tenant.Submission{})
			s.submit(host.Address().Port, before.tokenURL(issuer), fmt.Sprintf("grant = %q", c.grant))
			said := ""
			switch c.grant {
			case "secret":
				said = s.enterSecret()
			case "device":
				said = s.signIn(issuer)
			}
			said += s.fail(before, host, func() { close(refuse) })
			if !strings.Contains(said, `> AUTH XOAUTH2`) || !strings.Contains(said, "535 5.7.3") {
				t.Errorf("the box was not at its most talkative:\n%.3000s", said)
			}
			secrets := secretsOf(t, issuer, c.shown)
			if found := secrets.in([]byte(said)); len(found) > 0 {
				t.Errorf("the box has said %.300q", found)
			}
			inState := secrets.in(bytes.Join(layers(s.read("box.state")), nil))
			// What is kept in the clear is there to be found, which shows that the
			// search finds.
			if there := c.protection == "file"; len(inState) > 0 != there {
				t.Errorf("found in the state: %.300q", inState)
			}
		})
	}
}

// secretsOf are all that went to the issuer and came from it, which must
// include some of that kind, and an access token.
func secretsOf(t *testing.T, issuer *parts.Issuer, kind string) *needles {
	t.Helper()
	var wanted needles
	for i, secret := range issuer.Secrets() {
		wanted.addToken(fmt.Sprintf("secret %d", i), secret)
	}
	for _, request := range issuer.Requests() {
		if request.Form.Get(kind) != "" && request.Answer["access_token"] != nil {
			return &wanted
		}
	}
	t.Errorf("the issuer has seen no %s", kind)
	return &wanted
}
