package tpm_test

import (
	"strings"
	"testing"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
)

func TestNew_RefusesOnlyMalformedAddresses(t *testing.T) {
	tests := map[string]bool{
		"/dev/tpmrm0":                       true,
		"/nowhere/at/all":                   true,
		"unix:/run/tpm.sock":                true,
		"tcp:127.0.0.1:2321":                true,
		"tcp:[::1]:2321":                    true,
		"tcp:tpm.example:1":                 true,
		"":                                  false,
		"dev/tpmrm0":                        false,
		"unix:":                             false,
		"unix:relative":                     false,
		"unix:/" + strings.Repeat("x", 107): false,
		"/" + strings.Repeat("x", 512):      false,
		"/dev/tpm\x00":                      false,
		"tcp:2321":                          false,
		"tcp::2321":                         false,
		"tcp:host:":                         false,
		"tcp:host:0":                        false,
		"tcp:host:65536":                    false,
		"tcp:host:smtp":                     false,
		"mssim:host:2321":                   false,
	}
	for address, good := range tests {
		_, err := tpm.New(address)
		if (err == nil) != good {
			t.Errorf("%q: got error %v, want an error: %v", address, err, !good)
		}
		if err != nil && !strings.Contains(err.Error(), "write /dev/tpmrm0") {
			t.Errorf("%q: got error %q, want one that says what to write", address, err)
		}
	}
}

func FuzzNew(f *testing.F) {
	for _, seed := range []string{"/dev/tpmrm0", "unix:/run/s", "tcp:[::1]:2321", "tcp:a:b:c", "unix:", ":", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		_, err := tpm.New(address)
		if err != nil && (!strings.Contains(err.Error(), "write /dev/tpmrm0") || len(err.Error()) > 1000) {
			t.Errorf("%q: got error %q", address, err)
		}
	})
}

func FuzzLoadKey(f *testing.F) {
	// The public part of a P-256 and an RSA-2048 key begin like this.
	ecc := append([]byte{0, 86, 0, 0x23, 0, 0x0b, 0, 4, 4, 0x40, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10, 0, 32}, make([]byte, 66)...)
	rsa := append([]byte{1, 22, 0, 1, 0, 0x0b, 0, 6, 4, 0x40, 0, 0, 0, 0x10, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0}, make([]byte, 256)...)
	for _, public := range [][]byte{ecc, rsa, {}, {0, 0}, {0xff, 0xff}} {
		f.Add([]byte{0, 0}, public, []byte{0, 0})
	}
	chip, err := tpm.New("/nowhere")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, root, public, private []byte) {
		obj := hal.TPMObject{Root: root, Public: public, Private: private}
		signer, err := chip.LoadKey(obj)
		if (signer == nil) == (err == nil) {
			t.Errorf("got signer %v and error %v, want one of them", signer, err)
		}
		if err == nil && signer.Public() == nil {
			t.Error("a signer without a public key")
		}
		if secret, err := chip.Unseal(t.Context(), obj); err == nil {
			t.Errorf("unsealed %x without a TPM", secret)
		}
	})
}
