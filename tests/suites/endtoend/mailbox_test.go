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

// applicationID is the box's client ID at the issuer.
const applicationID = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"

// clientSecret has the form of the secrets that Entra ID issues.
const clientSecret = "k7J8Q~very.secret-client~value_0123456789"

// unreachableTokenURL is the token endpoint until a test has started its issuer.
const unreachableTokenURL = "https://localhost:1/token"

// mailboxSite returns a box that submits as the sender's mailbox and has no issuer
// yet.
func mailboxSite(t *testing.T, settings siteConfig) *site {
	t.Helper()
	settings.upstream = "method = \"submission\"\n" + settings.upstream
	settings.more = submissionSettings(587, unreachableTokenURL, "")
	return newSite(t, settings)
}

// submissionSettings returns the sections for submission. The device code endpoint is
// next to the token endpoint.
func submissionSettings(port int, tokenURL, oauth string) string {
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

// configureSubmission sets the submission server and the source of tokens.
func (s *site) configureSubmission(port int, tokenURL, oauth string) {
	s.t.Helper()
	s.config.more = submissionSettings(port, tokenURL, oauth)
	s.configure()
}

// certificate returns the certificate of the box's own key, which a tenant registers.
func (s *site) certificate() *x509.Certificate {
	s.t.Helper()
	result := s.run("tenant", "certificate")
	block, _ := pem.Decode([]byte(result.Out))
	if result.Status != 0 || block == nil {
		s.t.Fatalf("tenant certificate: got %+v, want a PEM block", result)
	}
	return must(x509.ParseCertificate(block.Bytes))
}

// enterSecret enters the client secret as a technician does.
func (s *site) enterSecret() string {
	s.t.Helper()
	s.write("secret.txt", []byte(clientSecret+"\n"))
	result := s.run("tenant", "secret", "--secret-file", "secret.txt")
	if result.Status != 0 {
		s.t.Fatalf("tenant secret: got %+v, want status 0", result)
	}
	return result.Out + result.Err
}

// signIn signs the box in with a device code and returns what it printed.
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

// startIssuer starts an issuer at which client is registered as applicationID.
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
	t.Cleanup(func() { mustSucceed(t, issuer.Stop) })
	return issuer
}

// startDovecot starts a submission server that accepts the issuer's tokens.
func startDovecot(t *testing.T, issuer *parts.Issuer, mechanisms ...string) *parts.Dovecot {
	t.Helper()
	dovecot, err := parts.NewDovecot(folder(t), parts.DovecotConfig{
		Certificate: serverCertificate(t), Mechanisms: mechanisms,
		Issuer: issuer.Name(), KeyID: issuer.KeyID(), Key: issuer.Key(), Audience: parts.Audience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustSucceed(t, dovecot.Close) })
	return dovecot
}

// startMailbox starts a mock submission server. checkToken returns the reply that
// rejects a login, or "".
func startMailbox(t *testing.T, checkToken func(token string) string, limits tenant.Submission) *tenant.Tenant {
	t.Helper()
	limits.CheckLogin = func(_, token string) string { return checkToken(token) }
	return startTenant(t, tenant.Config{Certificate: serverCertificate(t), Submission: &limits})
}

// acceptAnyToken accepts every token.
func acceptAnyToken(string) string { return "" }

// mustArrive waits until exactly n messages have passed through Dovecot.
func mustArrive(t *testing.T, dovecot *parts.Dovecot, n int) {
	t.Helper()
	messages, err := dovecot.Messages(n)
	if err != nil || len(messages) != n {
		t.Errorf("got %d messages, want %d: %v\n%s", len(messages), n, err, dovecot.Log())
	}
}

// tokenRequests returns the token requests of a grant type.
func tokenRequests(issuer *parts.Issuer, grantType string) []parts.IssuerRequest {
	var requests []parts.IssuerRequest
	for _, request := range issuer.Requests() {
		if request.Form.Get("grant_type") == grantType {
			requests = append(requests, request)
		}
	}
	return requests
}

// Grant types of RFC 6749.
const (
	clientCredentials = "client_credentials"
	refreshToken      = "refresh_token"
)
