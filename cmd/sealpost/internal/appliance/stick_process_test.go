package appliance

import (
	"path/filepath"
	"strings"
	"testing"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/state"
)

func TestAuthority_IsWrittenOnceTheBoxHasSettings(t *testing.T) {
	o := wire.Options{Config: "sealpost.toml", State: filepath.Join(t.TempDir(), "state")}
	if ca, err := authority(t.Context(), o); ca != nil || err != nil {
		t.Errorf("without a state: got %q, %v", ca, err)
	}
	if err := flash.Create(o.State, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	if ca, err := authority(t.Context(), o); ca != nil || err != nil {
		t.Errorf("in the factory state: got %q, %v", ca, err)
	}
	c := candidate.Candidate{Settings: "[senders]\naccepted_domains = [\"contoso.com\"]\n[keys]\nprotection = \"file\"\n"}
	checker, done, err := o.Checker(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	first, err := authority(t.Context(), o)
	if err != nil || !strings.HasPrefix(string(first), "-----BEGIN CERTIFICATE-----") {
		t.Fatalf("got %q, %v", first, err)
	}
	if again, err := authority(t.Context(), o); string(again) != string(first) || err != nil {
		t.Errorf("got another CA, or %v", err)
	}
}
