package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

func TestCheck_NeedsAnMXOnlyWithoutAConfiguredHost(t *testing.T) {
	// No name server listens on this port.
	closedPort := netip.MustParseAddrPort("127.0.0.1:1")
	for host, level := range map[settings.Host]certificate.Level{"": certificate.Problem, "mail.contoso.com": certificate.Note} {
		b := &wire.Box{Settings: settings.Default()}
		b.Settings.Senders.AcceptedDomains = []settings.Domain{"contoso.com"}
		b.Settings.Upstream.DNS, b.Settings.Upstream.Connector.Host = []netip.AddrPort{closedPort}, host
		if got := (inspection{b}).checkDomains(t.Context()); len(got) != 1 || got[0].Level != level {
			t.Errorf("host %q: got %v, want one finding of level %s", host, got, level)
		}
	}
}

func TestCheck_SkipsAnUnusedTPM(t *testing.T) {
	for protection, checked := range map[settings.Protection]bool{settings.ProtectionTPM: true, settings.ProtectionFile: false} {
		b := &wire.Box{Settings: settings.Default()}
		b.Settings.Keys.Protection = protection
		if got := slices.ContainsFunc(checksFor(t.Context(), b), func(c preflight.Check) bool { return c.Name == "TPM" }); got != checked {
			t.Errorf("keys.protection %q: got a check of the TPM: %t, want %t", protection, got, checked)
		}
	}
}
