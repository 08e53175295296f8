package tenant

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

var update = flag.Bool("update", false, "write the scripts as they are now")

const guid = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"

const submitting = `[site]
name = "Contoso Leeds"
[upstream]
method = "submission"
[upstream.submission]
user = "relay@contoso.com"
OWN
[upstream.oauth]
client_id = "` + guid + `"
`

func site(t *testing.T, text, own, oauth string) Site {
	t.Helper()
	s, err := settings.Parse([]byte(strings.Replace(text, "OWN", own, 1) + oauth))
	if err != nil {
		t.Fatal(err)
	}
	return Site{Settings: s, Steps: Steps{Secret: "enter it with: sealpost tenant secret", Verify: "sealpost tenant verify", Check: "sealpost check"}}
}

func TestScript_MatchesTheReviewedText(t *testing.T) {
	signing := site(t, submitting, `own_mailbox = ["scanner@contoso.com", "@contoso.co.uk"]`, "[senders]\naccepted_domains = [\"contoso.com\"]\ndefault = \"printer@contoso.com\"\n")
	signing.Certificate = []byte("not a certificate, but its bytes")
	connector := site(t, "[senders]\naccepted_domains = [\"contoso.com\"]\n", "", "")
	connector.ConnectorName = "relay.contoso.com"
	legacy := signing
	legacy.Recipe = RecipePermissions
	whatIf := signing
	whatIf.WhatIf = true
	for name, s := range map[string]Site{
		"certificate": signing,
		"legacy":      legacy,
		"whatif":      whatIf,
		"secret":      site(t, submitting, "", "grant = \"secret\"\n"),
		"device":      site(t, submitting, "", "grant = \"device\"\n"),
		"connector":   connector,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Script()
			if err != nil {
				t.Fatal(err)
			}
			compare(t, name, got)
		})
	}
	for name, s := range map[string]Site{"undo_submission": signing, "undo_connector": connector} {
		got, err := s.Undo()
		if err != nil {
			t.Fatal(err)
		}
		compare(t, name, got)
	}
	compare(t, "register", Register("Contoso Leeds", settings.CloudGlobal))
}

func TestScript_IsForEachMethodOfAList(t *testing.T) {
	text := strings.Replace(submitting, `"submission"`, `["connector", "direct", "submission"]`, 1)
	s := site(t, text, "", "grant = \"secret\"\n[senders]\naccepted_domains = [\"contoso.com\"]\n")
	s.ConnectorName = "relay.contoso.com"
	for name, write := range map[string]func(Site) (string, error){"Script": Site.Script, "Undo": Site.Undo} {
		alone := func(m settings.Method) string {
			one := s
			one.Settings.Upstream.Method = settings.Methods{m}
			text, err := write(one)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		got, err := write(s)
		if want := alone(settings.MethodConnector) + "\n" + alone(settings.MethodSubmission); err != nil || got != want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	s.Settings.Upstream.Method = settings.Methods{settings.MethodDirect}
	if _, err := s.Script(); err != errNoTenant {
		t.Errorf("got %v, want %v", err, errNoTenant)
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	if place := regexp.MustCompile(`%[A-Z]+%`).FindString(got); place != "" {
		t.Errorf("%s was not filled in", place)
	}
	if code := regexp.MustCompile(`(?m)^(#.*)?\n`).ReplaceAllString(got, ""); !strings.HasPrefix(code, ". {\n") || !strings.HasSuffix(code, "\n}\n") {
		t.Errorf("the script continues after an error if it is pasted line by line:\n%s", code)
	}
	golden := filepath.Join("testdata", name+".ps1")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || got != string(want) {
		t.Errorf("the script differs from %s (-update rewrites it), %v:\n%s", golden, err, got)
	}
}

func TestScript_QuotesEveryName(t *testing.T) {
	for _, name := range []string{
		"'; Remove-Everything x; '", "’; Remove-Everything x; ‘", "‚x‛", "a\nRemove-Everything x", "a\r# x", "$(Remove-Everything x)", "a`'b",
		"\u200eleft\u202eright\u2028line\u00adsoft\x00", "%CLIENT%", "#>",
	} {
		s := site(t, submitting, "", "")
		s.Settings.Site.Name = name
		got, err := s.Script()
		if err != nil {
			t.Fatal(err)
		}
		safe(t, name, got)
		undo, err := s.Undo()
		if err != nil {
			t.Fatal(err)
		}
		safe(t, name, undo)
		safe(t, name, Register(name, settings.CloudGlobal))
	}
}

// safe parses a script as PowerShell does, and fails if a name has injected anything
// but text.
func safe(t *testing.T, name, script string) {
	t.Helper()
	if strings.ContainsAny(script, "\r\x00\u200e\u202e\u2028\u00ad") {
		t.Errorf("%q brings what cannot be seen", name)
	}
	for line := range strings.Lines(script) {
		code, in := "", false
		for _, r := range strings.TrimPrefix(line, "# ") {
			if strings.ContainsRune("'‘’‚‛", r) {
				in = !in // a doubled quote ends and starts the string
			} else if !in {
				code += string(r)
			}
		}
		if !strings.HasPrefix(line, "#") && (in && !strings.Contains(line, `"`) || strings.Contains(code, "Remove-Everything")) {
			t.Errorf("%q breaks out in %s", name, line)
		}
	}
}

func TestScript_NamesEachConnectorByItsBox(t *testing.T) {
	leeds := site(t, "[senders]\naccepted_domains = [\"contoso.com\"]\n", "", "")
	leeds.ConnectorName = "leeds.contoso.com"
	if got, err := leeds.Script(); err != nil || !strings.Contains(got, "$name = 'Sealpost leeds.contoso.com'") {
		t.Errorf("%v: %s", err, got)
	}
}

func TestRegister_LimitsTheLengthOfNames(t *testing.T) {
	for _, name := range []string{strings.Repeat("n", 300), strings.Repeat("ü'", 150)} {
		got := regexp.MustCompile(`-DisplayName '(.*)' -Sign`).FindStringSubmatch(Register(name, settings.CloudGlobal))
		if len(got) != 2 || len([]rune(strings.ReplaceAll(got[1], "''", "'"))) != 64 {
			t.Errorf("the name is %q", got)
		}
	}
}

func TestScript_RefusesSitesThatItCannotSetUp(t *testing.T) {
	if _, err := site(t, "[senders]\naccepted_domains = [\"contoso.com\"]\n", "", "").Script(); err != ErrNoName {
		t.Errorf("a connector without a certificate: got %v, want %v", err, ErrNoName)
	}
	if _, err := site(t, submitting, "", "token_url = \"https://issuer.example/t\"\n").Script(); err != ErrOtherIssuer {
		t.Errorf("another issuer: got %v, want %v", err, ErrOtherIssuer)
	}
}

// in returns submission settings for a cloud.
func in(cloud settings.Cloud, text string) string {
	return strings.Replace(text, "[upstream]", "[upstream]\ncloud = \""+string(cloud)+"\"", 1)
}

func TestScript_ConnectsToTheCloudOfTheTenant(t *testing.T) {
	for _, c := range []struct {
		cloud           settings.Cloud
		graph, exchange string
	}{
		{settings.CloudGlobal, "-NoWelcome\n", "-ShowBanner:$false\n"},
		{settings.CloudGCCHigh, "-NoWelcome -Environment USGov\n", "-ShowBanner:$false -ExchangeEnvironmentName O365USGovGCCHigh\n"},
		{settings.CloudDoD, "-NoWelcome -Environment USGovDoD\n", "-ShowBanner:$false -ExchangeEnvironmentName O365USGovDoD\n"},
		{settings.CloudChina, "-NoWelcome -Environment China\n", "-ShowBanner:$false -ExchangeEnvironmentName O365China\n"},
	} {
		connector := site(t, in(c.cloud, "[upstream]\n[senders]\naccepted_domains = [\"contoso.com\"]\n"), "", "")
		connector.ConnectorName = "relay.contoso.com"
		for name, s := range map[string]Site{
			"certificate": site(t, in(c.cloud, submitting), "", ""),
			"secret":      site(t, in(c.cloud, submitting), "", "grant = \"secret\"\n"),
			"device":      site(t, in(c.cloud, submitting), "", "grant = \"device\"\n"),
			"connector":   connector,
		} {
			got, err := s.Script()
			if err != nil || strings.Count(got, c.exchange) != 1 || strings.Count(got, "Connect-ExchangeOnline") != 1 {
				t.Errorf("%s in %s: %v:\n%s", name, c.cloud, err, got)
			}
			if name != "connector" && (strings.Count(got, c.graph) != 1 || strings.Count(got, "Connect-MgGraph") != 1) {
				t.Errorf("%s in %s:\n%s", name, c.cloud, got)
			}
		}
		register := Register("Contoso", c.cloud)
		if !strings.Contains(register, c.graph) || strings.Contains(register, "cloud = \""+string(c.cloud)+"\"") != (c.cloud != settings.CloudGlobal) || strings.Contains(register, "%") {
			t.Errorf("register in %s:\n%s", c.cloud, register)
		}
		safe(t, string(c.cloud), register)
	}
}

func TestScript_AcceptsTheTokenURLOfItsOwnCloudOnly(t *testing.T) {
	const us = "token_url = \"https://login.microsoftonline.us/contoso.com/oauth2/v2.0/token\"\n"
	if _, err := site(t, in(settings.CloudGCCHigh, submitting), "", us).Script(); err != nil {
		t.Errorf("its own cloud: %v", err)
	}
	if _, err := site(t, submitting, "", us).Script(); err != errOtherCloud {
		t.Errorf("another cloud: got %v, want %v", err, errOtherCloud)
	}
}

func TestAudience_IsExchangeOnlineOfTheCloud(t *testing.T) {
	for _, cloud := range settings.Clouds {
		s := site(t, in(cloud, submitting), "", "")
		for _, other := range settings.Clouds {
			got := s.Audience(Token{Audience: []string{other.Services().Exchange + "/"}})
			if (got.Level == certificate.OK) != (cloud == other) {
				t.Errorf("%s in %s: %s", other, cloud, got)
			}
			if want := cloud.Services().Exchange + "/.default"; cloud != other && !strings.Contains(got.Text, want) {
				t.Errorf("%s in %s: no %s in %s", other, cloud, want, got)
			}
		}
	}
}

func TestSite_NamesTheFirstMissingStepAndItsCure(t *testing.T) {
	app, person := site(t, submitting, "", ""), site(t, submitting, "", "grant = \"device\"\n")
	other := site(t, submitting, "", "token_url = \"https://issuer.example/t\"\nscopes = [\"mail\"]\n")
	good := Token{Audience: []string{"https://outlook.office365.com/"}, Roles: []string{"SMTP.SendAsApp"}, Object: "4711"}
	signedIn := Token{Audience: []string{"https://outlook.office.com"}, Scopes: []string{"SMTP.Send"}, User: "relay@contoso.com"}
	refused := Reply{Code: 535, Status: "5.7.3", Text: "535 5.7.3 Authentication unsuccessful"}
	const mailbox = "relay@contoso.com"
	for _, c := range []struct {
		name  string
		got   interface{ String() string }
		level certificate.Level
		text  string
	}{
		{"a good audience", app.Audience(good), certificate.OK, "for Exchange Online"},
		{"another audience", app.Audience(Token{Audience: []string{"https://graph.microsoft.com\x1b"}}), certificate.Problem, "is for https://graph.microsoft.com, not for Exchange Online: leave upstream.oauth.scopes out"},
		{"no audience", app.Audience(Token{}), certificate.Problem, "is for (none)"},
		{"an opaque token", app.Audience(Token{Opaque: true}), certificate.OK, "no readable claims"},
		{"another service", other.Permission(Token{}), certificate.OK, "not for Exchange Online"},
		{"the role", app.Permission(good), certificate.OK, "SMTP.SendAsApp"},
		{"no role", app.Permission(Token{Roles: []string{"Mail.Send"}}), certificate.OK, "no role in Entra ID"},
		{"the scope", person.Permission(signedIn), certificate.OK, "SMTP.Send, for relay@contoso.com"},
		{"the scope in full", person.Permission(Token{Scopes: []string{"https://outlook.office.com/SMTP.Send"}}), certificate.OK, "SMTP.Send, for who signed in"},
		{"a scope like it", person.Permission(Token{Scopes: []string{"NoSMTP.Send"}}), certificate.Problem, "but not SMTP.Send"},
		{"no scope", person.Permission(good), certificate.Problem, "has the scopes (none) but not SMTP.Send"},
		{"no service principal", app.Login(good, mailbox, refused), certificate.Problem, "Test-ServicePrincipalAuthorization -Identity '4711' -Resource 'relay@contoso.com' shows its rights"},
		{"an object unknown", app.Login(Token{Opaque: true}, mailbox, refused), certificate.Problem, "-Identity ID -Resource 'relay@contoso.com' shows its rights; ID is the Object ID under Enterprise applications"},
		{"somebody else signed in", person.Login(Token{User: "bob@contoso.com"}, mailbox, refused), certificate.Problem, "bob@contoso.com signed in: give that account Full Access"},
		{"the right one signed in", person.Login(signedIn, mailbox, refused), certificate.Problem, "licensed and not blocked"},
		{"SMTP AUTH off", app.Login(good, mailbox, Reply{Code: 535, Status: "5.7.139", Text: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."}), certificate.Problem, "Set-CASMailbox -Identity 'relay@contoso.com' -SmtpClientAuthenticationDisabled $false"},
		{"what is known", app.Login(good, mailbox, Reply{Code: 550, Text: "550 5.7.30", Meaning: "use OAuth"}), certificate.Problem, "use OAuth"},
		{"what is not known", other.Login(good, mailbox, refused), certificate.Problem, "check the host and the mailbox"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.got.String(); !strings.HasPrefix(got, string(c.level)+" ") || !strings.Contains(got, c.text) || strings.Contains(got, "\x1b") {
				t.Errorf("got %s", got)
			}
		})
	}
}
