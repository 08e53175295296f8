//go:build !race

package certificate

import (
	"bytes"
	"encoding/pem"
	"errors"
	"testing"
)

// Extra certificates beside the chain must not prevent the import.
func TestParsePFX_SkipsWhatTheChainDoesNotNeed(t *testing.T) {
	for name, certificates := range map[string]int{
		"gnutls":                  2,
		"gnutls-full":             3,
		"openssl-negative-serial": 3,
		"openssl-underscore":      3,
	} {
		t.Run(name, func(t *testing.T) {
			data := fixture(t, name+".pfx")
			b, err := ParsePFX(data, password)
			if err != nil {
				t.Fatal(err)
			}
			readable := len(b.Chain) + len(b.Extra)
			if b.Root != nil {
				readable++
			}
			if len(b.Chain) != 2 || b.Leaf.Subject.CommonName != "relay.contoso.test" || readable != certificates || !signs(t, b.Key, b.Leaf) {
				t.Errorf("%v, %d certificates", b, readable)
			}
			for _, wrong := range []string{"", "Sealpost"} {
				if _, err := ParsePFX(data, wrong); !errors.Is(err, ErrPassword) {
					t.Errorf("password %q: got %v, want %v", wrong, err, ErrPassword)
				}
			}
			// A change of data under the MAC must be rejected.
			changed := bytes.Clone(data)
			changed[len(changed)/2] ^= 1
			if _, err := ParsePFX(changed, password); !errors.Is(err, ErrPassword) {
				t.Errorf("changed: got %v, want %v", err, ErrPassword)
			}
		})
	}
}

func TestParsePEM_SkipsWhatTheChainDoesNotNeed(t *testing.T) {
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	found, err := ParsePEM(append(broken, fixture(t, "chain.pem")...))
	if err != nil {
		t.Fatal(err)
	}
	path, err := found.Order(found.Parsed[0].PublicKey)
	if err != nil || len(path.Chain) != 3 || path.Verify(day, nil) != nil {
		t.Errorf("a chain of %d, %v", len(path.Chain), err)
	}
}

// readSafes reads only data that the MAC has authenticated.
func TestParsePFX_AcceptsNoChangedFile(t *testing.T) {
	data := fixture(t, "openssl-negative-serial.pfx")
	whole := must(ParsePFX(data, password))
	const step = 13
	for at := 0; at < len(data); at += step {
		changed := bytes.Clone(data)
		changed[at] ^= 0x20
		b, err := ParsePFX(changed, password)
		if err == nil && (!b.Leaf.Equal(whole.Leaf) || !signs(t, b.Key, whole.Leaf) || len(b.Chain) != len(whole.Chain) || len(b.Extra) != len(whole.Extra)) {
			t.Errorf("byte %d changed: got %v, want an error or the same content", at, b)
		}
	}
}
