package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"rsc.io/qr"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/tests/rigs/tenant"
)

// respondError returns an issuer's handler that responds with an Entra ID error.
func respondError(code int) func(string, url.Values) (int, any) {
	return func(string, url.Values) (int, any) {
		return http.StatusBadRequest, map[string]any{"error": "invalid_client", "error_codes": []int{code}, "error_description": "AADSTS: hidden words"}
	}
}

// respondToken returns an issuer's handler that responds with a token of the claims.
func respondToken(claims map[string]any) func(string, url.Values) (int, any) {
	return func(string, url.Values) (int, any) { return http.StatusOK, tokenBody(unsignedToken(claims), "") }
}

func TestTenantVerify_NamesTheFirstMissingStep(t *testing.T) {
	loginReply := func(text string) func(*cloud) {
		return func(c *cloud) {
			c.tenant.Reconfigure(tenant.Config{Certificate: must(c.root.IssueP256(nil, "localhost")),
				Submission: &tenant.Submission{CheckLogin: func(string, string) string { return text }}})
		}
	}
	for _, c := range []struct {
		name, oauth string
		change      func(*cloud)
		step, text  string // no step if all checks pass
	}{
		{"nothing", "", nil, "", ""},
		{"the secret", `grant = "secret"`, nil, "credential", "sealpost tenant secret"},
		{"the sign-in", `grant = "device"`, nil, "credential", "sealpost tenant login"},
		{"the connector's certificate", `key = "connector"`, nil, "credential", "sealpost certificate import"},
		{"the issuer", "", func(c *cloud) { c.issuer.Close() }, "issuer", "localhost refused the connection"},
		{"the upload", "", func(c *cloud) { c.respond = respondError(700027) }, "token", "upload the certificate"},
		{"the right scope", "", func(c *cloud) { c.respond = respondToken(map[string]any{"aud": "https://graph.microsoft.com"}) }, "audience", "https://graph.microsoft.com"},
		{"the role, which RBAC for Applications does not need", "", func(c *cloud) { c.respond = respondToken(map[string]any{"aud": "https://outlook.office365.com"}) }, "", ""},
		{"the rights", "", loginReply("535 5.7.3 Authentication unsuccessful"), "login", "Test-ServicePrincipalAuthorization -Identity "},
		{"SMTP AUTH", "", loginReply("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."), "login", "Set-CASMailbox -Identity '" + boxUser + "'"},
		{"a busy server", "", func(c *cloud) {
			c.tenant.SetScript(func(verb, _ string) string {
				if verb == "EHLO" {
					return "421 4.3.2 Service not active"
				}
				return ""
			})
		}, "login", "localhost said: 421 4.3.2 Service not active (Exchange Online is busy: wait)"},
		{"a temporary failure", "", loginReply("454 4.7.0 Temporary authentication failure"), "login", "wait, and try again"},
		{"Send As", "\n[senders]\ndefault = \"printer@contoso.com\"", nil, "message", "Add-RecipientPermission -Identity printer@contoso.com -Trustee " + boxUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := newCloud(t)
			if c.change != nil {
				c.change(cloud)
			}
			configure(t, cloud.settings(c.oauth))
			status, out, errs := runCommand("", "tenant", "verify", "--to", "alerts@msp.example")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			last := lines[len(lines)-1]
			if c.step == "" {
				if status != exitDone || len(cloud.tenant.Messages()) != 1 || strings.Contains(out, "problem") {
					t.Fatalf("status %d: %s%s", status, out, errs)
				}
				return
			}
			if status != exitFailed || !strings.HasPrefix(last, "problem") || !strings.Contains(last, " "+c.step+" ") || !strings.Contains(last, c.text) {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
			if strings.Count(out, "problem") != 1 || !strings.Contains(errs, `fails is "`+c.step+`"`) || strings.Contains(out, "hidden") {
				t.Errorf("got %s%s", out, errs)
			}
			status, out, _ = runCommand("", "tenant", "verify", "--json")
			for line := range strings.Lines(out) {
				if !json.Valid([]byte(line)) {
					t.Errorf("got status %d and %s, want JSON", status, line)
				}
			}
		})
	}
}

func TestTenantVerify_NamesTheMailboxOfARefusedLogin(t *testing.T) {
	cloud := newCloud(t)
	cloud.tenant.Reconfigure(tenant.Config{Certificate: must(cloud.root.IssueP256(nil, "localhost")), Submission: &tenant.Submission{CheckLogin: func(user, _ string) string {
		if user == boxUser {
			return ""
		}
		return "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."
	}}})
	own := "own_mailbox = [\"@contoso.com\"]\n[senders]\ndefault = \"printer@contoso.com\"\n[upstream.oauth]"
	configure(t, strings.Replace(cloud.settings(""), "[upstream.oauth]", own, 1))
	status, out, errs := runCommand("", "tenant", "verify", "--to", "alerts@msp.example")
	if status != exitFailed || !strings.Contains(errs, `"message"`) || !strings.Contains(out, "Set-CASMailbox -Identity 'printer@contoso.com'") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

func TestTenantCertificate_BelongsToTheSigningKey(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(""))
	status, out, errs := runCommand("", "tenant", "certificate")
	block, _ := pem.Decode([]byte(out))
	if status != exitDone || block == nil {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	if _, out, errs := runCommand("", "tenant", "verify"); !strings.Contains(out, "logged in by XOAUTH2") {
		t.Fatalf("%s%s", out, errs)
	}
	leaf := must(x509.ParseCertificate(block.Bytes))
	assertion := c.forms()[0].Get("client_assertion")
	signed := assertion[:strings.LastIndexByte(assertion, '.')]
	signature := must(base64.RawURLEncoding.DecodeString(assertion[len(signed)+1:]))
	digest := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPSS(leaf.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, nil); err != nil {
		t.Error(err)
	}
	if _, second, _ := runCommand("", "tenant", "certificate"); second != out {
		t.Error("got another certificate on the second call, want the same")
	}
	if _, replaced, _ := runCommand("", "tenant", "certificate", "--replace"); replaced == out {
		t.Error("got the same certificate, want it replaced on request")
	}
}

func TestTenantSecret_IsSentOnlyToTheIssuer(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(`grant = "secret"`))
	const secret = "very~secret.value"
	if err := os.WriteFile("secret.txt", []byte(secret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for input, args := range map[string][]string{secret + "\n": {"tenant", "secret"}, "": {"tenant", "secret", "--secret-file", "secret.txt"}} {
		if status, out, errs := runCommand(input, args...); status != exitDone || strings.Contains(out+errs, secret) {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
		if status, out, errs := runCommand("", "tenant", "verify"); status != exitDone || strings.Contains(out+errs, secret) {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
	}
	for _, form := range c.forms() {
		if form.Get("client_secret") != secret {
			t.Errorf("the issuer got %q, want %q", form.Get("client_secret"), secret)
		}
	}
}

func TestTenantLogin_ShowsTheCodeAndKeepsTheSignIn(t *testing.T) {
	c := newCloud(t)
	const refresh = "very-secret-refresh-token"
	person := unsignedToken(map[string]any{"aud": "https://outlook.office.com", "scp": "SMTP.Send", "upn": boxUser})
	c.respond = func(path string, form url.Values) (int, any) {
		if path == "/device" {
			return http.StatusOK, map[string]any{"device_code": "hidden-code", "user_code": "ABCD-EFGH",
				"verification_uri": "https://microsoft.com/devicelogin", "expires_in": 900, "interval": 1}
		}
		return http.StatusOK, tokenBody(person, refresh)
	}
	configure(t, c.settings(`grant = "device"`))
	status, out, errs := runCommand("", "tenant", "login")
	if status != exitDone || !strings.Contains(out, "https://microsoft.com/devicelogin") || !strings.Contains(out, "ABCD-EFGH") || !strings.Contains(out, "signed in as "+boxUser) {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	if strings.ContainsAny(out, "█▀▄\x1b") {
		t.Errorf("got %s, want no QR code without a terminal", out)
	}
	if strings.Contains(out+errs, "hidden-code") || strings.Contains(out+errs, refresh) || strings.Contains(out+errs, person) {
		t.Errorf("the output contains a secret: %s%s", out, errs)
	}
	if status, out, errs := runCommand("", "tenant", "verify"); status != exitDone {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	forms := c.forms()
	if last := forms[len(forms)-1]; last.Get("refresh_token") != refresh {
		t.Errorf("token request %v", last)
	}
}

func TestTenant_RefusesCommandsThatTheSettingsDoNotNeed(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(""))
	for _, args := range [][]string{{"tenant", "login"}, {"tenant", "secret"}} {
		if status, _, errs := runCommand("x\n", args...); status != exitFailed || !strings.Contains(errs, `upstream.oauth.grant is "certificate"`) {
			t.Errorf("%v: got status %d and %s, want %d and the current grant", args, status, errs, exitFailed)
		}
	}
	configure(t, good)
	for _, args := range [][]string{{"tenant", "login"}, {"tenant", "secret"}, {"tenant", "certificate"}, {"tenant", "verify"}} {
		if status, out, errs := runCommand("x\n", args...); status != exitFailed || !strings.Contains(out+errs, `upstream.method is "connector"`) {
			t.Errorf("%v: status %d: %s%s", args, status, out, errs)
		}
	}
}

func TestTenantScript_UploadsTheSigningCertificate(t *testing.T) {
	configure(t, "[upstream]\nmethod = \"submission\"\n[upstream.submission]\nuser = \"relay@contoso.com\"\n[upstream.oauth]\nclient_id = \""+boxClient+"\"\n[lan]\nhostname = \"relay.contoso.com\"\n[keys]\nprotection = \"file\"\n[spool]\nsize = \"8MiB\"\n[state]\npath = \"box.state\"\n")
	_, certificate, _ := runCommand("", "tenant", "certificate")
	block, _ := pem.Decode([]byte(certificate))
	status, out, errs := runCommand("", "tenant", "script")
	if status != exitDone || block == nil || !strings.Contains(out, "'"+base64.StdEncoding.EncodeToString(block.Bytes)+"'") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if status, out, errs := runCommand("", "tenant", "register", "--site", "Leeds"); status != exitDone || !strings.Contains(out, "-DisplayName 'Sealpost Leeds'") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

func TestQRCode_EncodesItsText(t *testing.T) {
	const text = "https://microsoft.com/devicelogin"
	code := must(qr.Encode(text, qr.L))
	rows := strings.Split(strings.TrimSuffix(operator.QRCode(text), "\n\n"), "\n")
	for i, row := range rows {
		cells := []rune(strings.TrimSuffix(strings.TrimPrefix(row, "\x1b[30;107m"), "\x1b[0m"))
		if len(cells) != code.Size+8 {
			t.Fatalf("row %d has %d cells for %d modules", i, len(cells), code.Size)
		}
		for j, cell := range cells {
			upper, lower := code.Black(j-4, 2*i-4), code.Black(j-4, 2*i-3)
			if strings.ContainsRune("▀█", cell) != upper || strings.ContainsRune("▄█", cell) != lower {
				t.Fatalf("row %d, cell %d is %q", i, j, cell)
			}
		}
	}
	if len(rows) > 24 {
		t.Errorf("%d rows do not fit on a terminal", len(rows))
	}
}

func TestUsesUTF8_FollowsTheLocale(t *testing.T) {
	for _, c := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "en_GB.UTF-8", true}, {"", "C.utf8", "C", true}, {"C", "en_GB.UTF-8", "en_GB.UTF-8", false}, {"", "", "", false}, {"", "", "de_DE.ISO-8859-1", false},
	} {
		environment := map[string]string{"LC_ALL": c.all, "LC_CTYPE": c.ctype, "LANG": c.lang}
		if got := operator.UsesUTF8(func(name string) string { return environment[name] }); got != c.want {
			t.Errorf("%+v: got %v, want %v", c, got, c.want)
		}
	}
}
