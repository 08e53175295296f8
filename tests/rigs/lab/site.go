package lab

import (
	"fmt"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// OpenSite starts a site that goes with the test.
func OpenSite(t *testing.T) *site.Site {
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

// SettingsFor are enough for a site whose authority is its own.
func SettingsFor(s *site.Site) string {
	return fmt.Sprintf("[site]\nname = \"Contoso Leeds\"\n[senders]\naccepted_domains = [%q]\ndefault = \"printer@%s\"\n[upstream.connector]\nhost = %q\nca = \"\"\"\n%s\"\"\"\n",
		site.Domain, site.Domain, site.MailHost, parts.PEM(s.Authority.Certificate.Raw))
}

// FullyFor is a candidate that leaves nothing to be done.
func FullyFor(s *site.Site) Candidate {
	return Candidate{Settings: SettingsFor(s), PFX: s.PFX, Password: s.Password}
}
