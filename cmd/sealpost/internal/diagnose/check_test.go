package diagnose

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
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

// Whoever changes the settings outside of the box can change keys.protection too.
func TestCheck_ReportsForeignSettingsOfABoxWithKeysInClearText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := flash.Create(path, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	device, err := flash.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	store, err := wire.StoreIn(device)
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(t.Context(), func(sections state.Sections) error {
		sections["settings"] = []byte("[keys]\nprotection = \"file\"\n")
		sections["spool"] = []byte(`{"protection":"tpm-sealed","name":"spool"}`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &wire.Box{Settings: settings.Default(), Store: store}
	b.Settings.Keys.Protection = settings.ProtectionFile
	var found []preflight.Finding
	for _, c := range checksFor(t.Context(), b) {
		if c.Name == "settings" {
			found = append(found, c.Run(t.Context())...)
		}
	}
	if len(found) != 1 || found[0].Code != fault.SettingsForeign {
		t.Errorf("got %v", found)
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
