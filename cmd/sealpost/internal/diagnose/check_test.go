package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

func TestADomainWithoutAnMXStandsInTheWayOnlyOfMailThatGoesByIt(t *testing.T) {
	// The name server is nobody.
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	for host, level := range map[settings.Host]certificate.Level{"": certificate.Problem, "mail.contoso.com": certificate.Note} {
		b := &box{settings: settings.Default()}
		b.settings.Senders.AcceptedDomains = []settings.Domain{"contoso.com"}
		b.settings.Upstream.DNS, b.settings.Upstream.Connector.Host = []netip.AddrPort{nobody}, host
		if got := b.lookAtDomains(t.Context()); len(got) != 1 || got[0].Level != level {
			t.Errorf("with the host %q it is %v", host, got)
		}
	}
}

func TestATPMThatTheSettingsMakeNoUseOfIsNotLookedAt(t *testing.T) {
	for protection, looked := range map[settings.Protection]bool{settings.ProtectionTPM: true, settings.ProtectionFile: false} {
		b := &box{settings: settings.Default()}
		b.settings.Keys.Protection = protection
		if got := slices.ContainsFunc(b.checks(t.Context()), func(c preflight.Check) bool { return c.Name == "TPM" }); got != looked {
			t.Errorf("with keys.protection %q the TPM is looked at: %t", protection, got)
		}
	}
}
