//go:build !quick

package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sealpost/provisioning/keyring"
	"sealpost/tests/rigs/parts"
)

// TestDKIMSigner_SignsWithKeysOfATPM signs with an RSA key in a TPM, and an Ed25519 key
// that it seals.
func TestDKIMSigner_SignsWithKeysOfATPM(t *testing.T) {
	swtpm, dir := parts.StartSwtpm(t), t.TempDir()
	path := filepath.Join(dir, "sealpost.toml")
	text := fmt.Sprintf("[senders]\naccepted_domains = [\"contoso.com\"]\n[keys]\ntpm = %q\n[spool]\nsize = \"8MiB\"\n[state]\npath = %q\n", swtpm.Address(), filepath.Join(dir, "box.state"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Options{Config: path}.Open(AnyState)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	set, zone := rotateKeys(t, b).Next, &keyZone{texts: make(map[string]string)}
	if rsa, ed25519 := set.Keys[0].Private.Protection, set.Keys[1].Private.Protection; rsa != keyring.TPMResident || ed25519 != keyring.TPMSealed {
		t.Errorf("got %s and %s", rsa, ed25519)
	}
	zone.publish(t, set, "contoso.com")
	activate(t, b, set.Name, "contoso.com")
	s := newDKIMSigner(openAgain(t, b.Settings), func(err error) { t.Error(err) })
	for range 2 {
		if selectors, err := zone.verify(signedBy(t, s, "a@contoso.com")); err != nil || len(selectors) != 2 {
			t.Errorf("signed by %v, %v", selectors, err)
		}
	}
}
