package settings

import (
	"reflect"
	"strings"
	"testing"
)

const guid = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"

const submitting = `[upstream]
method = "submission"
[upstream.submission]
user = "relay@contoso.com"
[upstream.oauth]
client_id = "` + guid + `"
`

func parsed(t *testing.T, text string) Settings {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSubmission_NeedsOnlyAMailboxAndAnApplication(t *testing.T) {
	s := parsed(t, submitting)
	if u := s.Upstream; u.Connections != 3 || u.MessagesPerMinute != 30 || u.RecipientsPerDay != 10000 {
		t.Errorf("got %+v, want the limits of a mailbox", u)
	}
	if u := s.Upstream.Submission; u.Host != "smtp.office365.com" || u.Port != 587 {
		t.Errorf("got server %s:%d, want smtp.office365.com:587", u.Host, u.Port)
	}
	want := OAuth{
		Tenant: "contoso.com", ClientID: guid, Grant: GrantCertificate, Key: KeyOwn, Algorithm: AlgorithmPS256,
		TokenURL:  "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token",
		DeviceURL: "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/devicecode",
		Audience:  "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token",
		Scopes:    []string{"https://outlook.office365.com/.default"},
	}
	if got := s.Issuer(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestIssuer_RequestsMailboxAndOfflineScopesForSignIn(t *testing.T) {
	s := parsed(t, submitting+"grant = \"device\"\n")
	if got := s.Issuer().Scopes; !reflect.DeepEqual(got, []string{"https://outlook.office.com/SMTP.Send", "offline_access"}) {
		t.Errorf("got scopes %q", got)
	}
}

func TestTenant_DefaultsToTheFirstAcceptedDomain(t *testing.T) {
	domains := "\n[senders]\naccepted_domains = [\"fabrikam.com\", \"contoso.com\"]\n"
	for text, want := range map[string]Tenant{
		submitting + domains: "fabrikam.com",
		submitting + "tenant = \"" + strings.ToUpper(guid) + "\"" + domains: guid,
	} {
		if got := parsed(t, text).Issuer(); got.Tenant != want || !strings.Contains(string(got.TokenURL), "/"+string(want)+"/") {
			t.Errorf("got tenant %s at %s, want %s", got.Tenant, got.TokenURL, want)
		}
	}
}

func TestIssuer_UsesNoEntraDefaultsForACustomTokenURL(t *testing.T) {
	got := parsed(t, strings.Replace(submitting, guid, "box", 1)+"token_url = \"https://issuer.example/t\"\n").Issuer()
	if got.TokenURL != "https://issuer.example/t" || got.Audience != got.TokenURL || got.DeviceURL != "" {
		t.Errorf("got %+v", got)
	}
}

func TestUpstream_PrefersConfiguredLimitsToDefaults(t *testing.T) {
	u := parsed(t, strings.Replace(submitting, "\n", "\nconnections = 9\nmessages_per_minute = 0\nrecipients_per_day = 7\n", 1)).Upstream
	if u.Connections != 9 || u.MessagesPerMinute != 0 || u.RecipientsPerDay != 7 {
		t.Errorf("got %+v", u)
	}
}

func TestMailbox_IsTheOneThatLogsInForASender(t *testing.T) {
	s := parsed(t, strings.Replace(submitting, "[upstream.oauth]",
		"own_mailbox = [\"Scanner@contoso.com\", \"@fabrikam.com\"]\n[upstream.oauth]", 1))
	for sender, want := range map[string]string{
		"scanner@Contoso.com":      "scanner@contoso.com",
		"scanner@contoso.com.evil": "relay@contoso.com",
		"Anyone@FABRIKAM.com":      "anyone@fabrikam.com",
		"x@sub.fabrikam.com":       "relay@contoso.com",
		"@fabrikam.com":            "relay@contoso.com",
		"printer@contoso.com":      "relay@contoso.com",
		"":                         "relay@contoso.com",
	} {
		if got := s.Upstream.Submission.Mailbox(sender); got != want {
			t.Errorf("%q: got mailbox %q, want %q", sender, got, want)
		}
	}
	if got := s.AcceptedDomains(); !reflect.DeepEqual(got, []Domain{"contoso.com", "fabrikam.com"}) {
		t.Errorf("got domains %q", got)
	}
}

func TestDefaultSender_IsTheMailboxOnlyForSubmission(t *testing.T) {
	if got := parsed(t, submitting).DefaultSender(); got != "relay@contoso.com" {
		t.Errorf("submission: got %q, want the mailbox", got)
	}
	if got := parsed(t, minimal+"[upstream.submission]\nuser = \"relay@contoso.com\"\n").DefaultSender(); got != "" {
		t.Errorf("connector: got %q, want none", got)
	}
	named := parsed(t, submitting+"\n[senders]\ndefault = \"printer@contoso.com\"\n")
	if got := named.DefaultSender(); got != "printer@contoso.com" {
		t.Errorf("configured: got %q, want the configured one", got)
	}
}

func TestParse_ExplainsSubmissionMistakes(t *testing.T) {
	without := func(line string) string { return strings.Replace(submitting, line, "", 1) }
	for _, c := range []struct{ name, text, want string }{
		{"no mailbox", without(`user = "relay@contoso.com"`), "line 3: upstream.submission.user is empty: name the mailbox that logs in"},
		{"no application", without(`client_id = "` + guid + `"`), "line 5: upstream.oauth.client_id is empty: copy the Application (client) ID"},
		{"no application's ID", strings.Replace(submitting, guid, "sealpost", 1), "line 6: upstream.oauth.client_id is not an ID of Entra ID"},
		{"no host", strings.Replace(submitting, "user =", "host = \"\"\nuser =", 1), "line 4: upstream.submission.host is empty"},
		{"no port", strings.Replace(submitting, "user =", "port = 0\nuser =", 1), "line 4: upstream.submission.port is 0"},
		{"two senders in one string", strings.Replace(submitting, "user =", "own_mailbox = [\"a b\"]\nuser =", 1), "line 4: upstream.submission.own_mailbox: \"a b\" is not a sender"},
		{"an empty sender", strings.Replace(submitting, "user =", "own_mailbox = [\"\"]\nuser =", 1), "line 4: upstream.submission.own_mailbox: \"\" is not a sender"},
		{"a sender domain without a name", strings.Replace(submitting, "user =", "own_mailbox = [\"@\"]\nuser =", 1), "line 4: upstream.submission.own_mailbox: \"@\" is not a domain"},
		{"an unknown send_as", strings.Replace(submitting, "user =", "send_as = \"drop\"\nuser =", 1), "line 4: upstream.submission.send_as: \"drop\" is not a value of send_as: write \"bounce\" or \"default\""},
		{"tenant", submitting + "tenant = \"Contoso Ltd\"\n", "line 7: upstream.oauth.tenant: \"Contoso Ltd\" is not a tenant"},
		{"grant", submitting + "grant = \"password\"\n", "line 7: upstream.oauth.grant: \"password\" is not a grant: write \"certificate\", \"secret\" or \"device\""},
		{"key", submitting + "key = \"tpm\"\n", "line 7: upstream.oauth.key: \"tpm\" is not a key: write \"own\" or \"connector\""},
		{"algorithm", submitting + "algorithm = \"none\"\n", "line 7: upstream.oauth.algorithm: \"none\" is not an algorithm: write \"PS256\" or \"RS256\""},
		{"an issuer in clear text", submitting + "token_url = \"http://issuer.example\"\n", "line 7: upstream.oauth.token_url: \"http://issuer.example\" is not an HTTPS address"},
		{"an issuer with a password", submitting + "token_url = \"https://a:b@issuer.example\"\n", "line 7: upstream.oauth.token_url: \"https://a:b@issuer.example\" is not an HTTPS address"},
		{"no page to sign in at", strings.Replace(submitting, guid, "box", 1) + "grant = \"device\"\ntoken_url = \"https://issuer.example\"\n", "line 5: upstream.oauth.device_url is empty"},
		{"two authorities", submitting + "ca_file = \"a\"\nca = \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\"\n", "line 8: upstream.oauth.ca and upstream.oauth.ca_file are both set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}
