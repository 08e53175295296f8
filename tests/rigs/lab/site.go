package lab

import (
	"fmt"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// StartSite starts a site that is closed when the test ends.
func StartSite(t *testing.T) *site.Site {
	t.Helper()
	s, err := site.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// SettingsFor returns minimal settings for a site with its own authority.
func SettingsFor(s *site.Site) string {
	return fmt.Sprintf("[site]\nname = \"Contoso Leeds\"\n[senders]\naccepted_domains = [%q]\ndefault = \"printer@%s\"\n[upstream.connector]\nhost = %q\nca = \"\"\"\n%s\"\"\"\n",
		site.Domain, site.Domain, site.MailHost, parts.PEM(s.Authority.Certificate.Raw))
}

// CandidateFor returns a complete candidate for the site.
func CandidateFor(s *site.Site) Candidate {
	return Candidate{Settings: SettingsFor(s), PFX: s.PFX, Password: s.Password}
}
