package candidate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealpost/provisioning/credential"
	"sealpost/provisioning/settings"
)

const submitting = `[upstream]
method = "submission"
[upstream.submission]
user = "relay@contoso.com"
[upstream.oauth]
client_id = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"
grant = "secret"
`

// secretFor is what is stored for the application of the settings.
func secretFor(t *testing.T, m *memory, text string) string {
	t.Helper()
	s, err := settings.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	vault := credential.Vault{Store: m, Sealer: checker(m).Sealer, Application: credential.Of(s)}
	secret, err := vault.Load(t.Context(), credential.ClientSecret)
	if err != nil && !errors.Is(err, credential.ErrNone) {
		t.Fatal(err)
	}
	return string(secret)
}

func TestCommit_BindsAClientSecretToTheApplicationInItsSettings(t *testing.T) {
	m := &memory{}
	commit(t, m, Candidate{Settings: submitting, ClientSecret: "first"})
	if got := secretFor(t, m, submitting); got != "first" || m.writes != 1 {
		t.Errorf("got %q after %d writes", got, m.writes)
	}
	commit(t, m, Candidate{ClientSecret: "second"})
	if got := secretFor(t, m, submitting); got != "second" {
		t.Errorf("without settings: got %q, want the secret for the current settings", got)
	}
	other := submitting + "tenant = \"fabrikam.com\"\n"
	commit(t, m, Candidate{Settings: other})
	if got := secretFor(t, m, other); got != "" {
		t.Errorf("another tenant's application is shown %q", got)
	}
}

func TestCommit_RefusesAnUnneededClientSecret(t *testing.T) {
	for name, c := range map[string]struct {
		candidate Candidate
		want      string
	}{
		"a connector":         {Candidate{Settings: before, ClientSecret: "hidden"}, "do not use one"},
		"another grant":       {Candidate{Settings: strings.Replace(submitting, `"secret"`, `"device"`, 1), ClientSecret: "hidden"}, "do not use one"},
		"no settings":         {Candidate{ClientSecret: "hidden"}, "factory state"},
		"settings with fault": {Candidate{Settings: submitting + "x = 1\n", ClientSecret: "hidden"}, "unknown key"},
	} {
		m := &memory{}
		err := checker(m).Commit(t.Context(), c.candidate)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "\n") || m.writes > 0 {
			t.Errorf("%s: got %v after %d writes, want one line with %q, without the secret, after none", name, err, m.writes, c.want)
		}
		if text := fmt.Sprintf("%v %+v %#v", c.candidate, c.candidate, c.candidate); strings.Contains(text, "hidden") {
			t.Errorf("%s: the printed candidate contains the secret: %s", name, text)
		}
	}
}
