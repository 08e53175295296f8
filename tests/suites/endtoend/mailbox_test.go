package endtoend

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// applicationID is the box's at the issuer.
const applicationID = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"

// clientSecret is what the issuer made for an application of that kind.
const clientSecret = "k7J8Q~very.secret-client~value_0123456789"

// nowhere is the token endpoint of a box whose issuer is not there yet.
const nowhere = "https://localhost:1/token"

// mailboxSite is a box that is to submit as the sender's mailbox, and was told
// of no issuer yet.
func mailboxSite(t *testing.T, settings told) *site {
	t.Helper()
	settings.upstream = "method = \"submission\"\n" + settings.upstream
	settings.more = submits(587, nowhere, "")
	return newSite(t, settings)
}

// submits is what the settings say of submission. The endpoint for device codes
// lies beside that for tokens.
func submits(port int, tokenURL, oauth string) string {
	ca := "\"\"\"\n" + string(authority().PEM()) + "\"\"\""
	deviceURL := strings.TrimSuffix(tokenURL, "token") + "devicecode"
	return fmt.Sprintf(`[upstream.submission]
host = "localhost"
port = %d
user = %q
ca = %s

[upstream.oauth]
client_id = %q
token_url = %q
device_url = %q
ca = %[3]s
%[7]s
`, port, sender, ca, applicationID, tokenURL, deviceURL, oauth)
}

// submit tells the box where to submit, and how it gets its tokens.
func (s *site) submit(port int, tokenURL, oauth string) {
	s.t.Helper()
	s.told.more = submits(port, tokenURL, oauth)
	s.configure()
}

// certificate is that of the box's own key, as it is uploaded.
func (s *site) certificate() *x509.Certificate {
	s.t.Helper()
	result := s.run("tenant", "certificate")
	block, _ := pem.Decode([]byte(result.Out))
	if result.Status != 0 || block == nil {
		s.t.Fatalf("there is no certificate: %+v", result)
	}
	return must(x509.ParseCertificate(block.Bytes))
}

// enterSecret enters the client secret as a technician does.
func (s *site) enterSecret() string {
	s.t.Helper()
	s.write("secret.txt", []byte(clientSecret+"\n"))
	result := s.run("tenant", "secret", "--secret-file", "secret.txt")
	if result.Status != 0 {
		s.t.Fatalf("the secret is not taken: %+v", result)
	}
	return result.Out + result.Err
}

// signIn signs the box in with the help of a person, and gives what it printed.
func (s *site) signIn(issuer *parts.Issuer) string {
	s.t.Helper()
	login := exec.CommandContext(s.t.Context(), program, "tenant", "login", "--json", "--config", s.box.Config)
	login.Dir = s.dir
	var errs strings.Builder
	login.Stderr = &errs
	output, err := login.StdoutPipe()
	if err == nil {
		err = login.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var printed strings.Builder
	lines := json.NewDecoder(output)
	for _, act := range []func(line map[string]any) error{
		func(line map[string]any) error {
			return issuer.SignIn(fmt.Sprint(line["url"]), fmt.Sprint(line["code"]), sender)
		},
		func(map[string]any) error { return nil },
	} {
		var line map[string]any
		err := lines.Decode(&line)
		if err == nil {
			fmt.Fprintln(&printed, line)
			err = act(line)
		}
		if err != nil {
			_ = login.Process.Kill()
			_ = login.Wait()
			s.t.Fatalf("signing in: %v: %s%s", err, &printed, &errs)
		}
	}
	if err := login.Wait(); err != nil {
		s.t.Fatalf("signing in: %v: %s%s", err, &printed, &errs)
	}
	return printed.String() + errs.String()
}

// startIssuer starts an issuer that knows the client as the application.
func startIssuer(t *testing.T, client parts.IssuerClient) *parts.Issuer {
	t.Helper()
	client.ID = applicationID
	issuer, err := parts.NewIssuer(parts.IssuerConfig{
		Certificate: serverCertificate(t), Roots: authority().Pool(), Clients: []parts.IssuerClient{client}, Mailbox: sender,
		Scopes: []string{"https://outlook.office365.com/.default", "https://outlook.office.com/SMTP.Send"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { try(t, issuer.Stop) })
	return issuer
}

// startDovecot starts a server for submission that takes the issuer's tokens.
func startDovecot(t *testing.T, issuer *parts.Issuer, mechanisms ...string) *parts.Dovecot {
	t.Helper()
	dovecot, err := parts.NewDovecot(folder(t), parts.DovecotConfig{
		Certificate: serverCertificate(t), Mechanisms: mechanisms,
		Issuer: issuer.Name(), KeyID: issuer.KeyID(), Key: issuer.Key(), Audience: parts.Audience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { try(t, dovecot.Close) })
	return dovecot
}

// startMailbox starts a stand-in for the host for submission, which judges a
// login by its token.
func startMailbox(t *testing.T, judge func(token string) string, limits tenant.Submission) *tenant.Tenant {
	t.Helper()
	limits.CheckLogin = func(_, token string) string { return judge(token) }
	return startTenant(t, tenant.Config{Certificate: serverCertificate(t), Submission: &limits})
}

// anyToken is a judge that lets every token pass.
func anyToken(string) string { return "" }

// mustArrive waits until so many messages have come out behind Dovecot, and no
// more.
func mustArrive(t *testing.T, dovecot *parts.Dovecot, n int) {
	t.Helper()
	messages, err := dovecot.Messages(n)
	if err != nil || len(messages) != n {
		t.Errorf("%d messages arrived, of %d: %v\n%s", len(messages), n, err, dovecot.Log())
	}
}

// tokenRequests are those for tokens of the grant type.
func tokenRequests(issuer *parts.Issuer, grantType string) []parts.IssuerRequest {
	var asked []parts.IssuerRequest
	for _, request := range issuer.Requests() {
		if request.Form.Get("grant_type") == grantType {
			asked = append(asked, request)
		}
	}
	return asked
}

// Grant types of RFC 6749.
const (
	clientCredentials = "client_credentials"
	refreshToken      = "refresh_token"
)
