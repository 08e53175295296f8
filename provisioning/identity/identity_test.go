package identity

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"testing"

	"sealpost/hal"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
	"sealpost/tests/rigs/parts"
)

// memory is a Store that can be made to fail.
type memory struct {
	sections state.Sections
	broken   error
}

func (m *memory) Load(context.Context) (state.Sections, error) { return maps.Clone(m.sections), nil }

func (m *memory) Update(_ context.Context, change func(state.Sections) error) error {
	sections := maps.Clone(m.sections)
	if sections == nil {
		sections = state.Sections{}
	}
	if err := errors.Join(change(sections), m.broken); err != nil {
		return err
	}
	m.sections = sections
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var authority = must(parts.NewAuthority("Test CA"))

func bundle(t *testing.T) certificate.Bundle {
	t.Helper()
	issued := must(authority.IssueP256(nil, "relay.contoso.com"))
	return must(certificate.ParsePFX(must(parts.PFX(issued, "x")), "x"))
}

func inFile(_ context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
	return keyring.ProtectInFile(key, binding)
}

func TestImport_StoresACertificateForTheNextStart(t *testing.T) {
	store := &memory{}
	ctx := context.Background()
	if _, err := Load(ctx, store); !errors.Is(err, ErrNone) {
		t.Errorf("an empty store gives %v", err)
	}
	imported := bundle(t)
	public := imported.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if _, err := Import(ctx, store, inFile, imported); err != nil {
		t.Fatal(err)
	}
	client, err := Load(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := client.Signer(nil)
	if err != nil || !public.Equal(signer.Public()) || len(client.DER()) != 1 {
		t.Errorf("got %v with %d certificates, %v", signer, len(client.DER()), err)
	}
}

func TestImport_ChangesNothingAndWipesTheKeyOnFailure(t *testing.T) {
	ctx := context.Background()
	store := &memory{}
	if _, err := Import(ctx, store, inFile, bundle(t)); err != nil {
		t.Fatal(err)
	}
	before := string(store.sections[sectionConnector])
	noTPM := func(context.Context, crypto.Signer, []byte) (keyring.Key, error) {
		return keyring.Key{}, &hal.TPMFault{State: hal.TPMAbsent, Op: "import"}
	}
	if _, err := Import(ctx, store, noTPM, bundle(t)); err == nil || !strings.Contains(err.Error(), "TPM absent") {
		t.Errorf("without a TPM: got %v, want an error with %q", err, "TPM absent")
	}
	store.broken = errors.New("EIO")
	if _, err := Import(ctx, store, inFile, bundle(t)); err == nil || !strings.Contains(err.Error(), "EIO") {
		t.Errorf("on broken flash: got %v, want an error with %q", err, "EIO")
	}
	if string(store.sections[sectionConnector]) != before {
		t.Error("the stored certificate was changed")
	}
}

// keyTPM is a mock of a TPM that creates this key, or fails if there is none.
type keyTPM struct {
	hal.TPM
	key crypto.Signer
}

func (k keyTPM) CreateKey(context.Context, hal.KeyType) (hal.TPMObject, error) {
	if k.key == nil {
		return hal.TPMObject{}, &hal.TPMFault{State: hal.TPMAbsent, Op: "create"}
	}
	return hal.TPMObject{Public: must(x509.MarshalPKIXPublicKey(k.key.Public()))}, nil
}

func (k keyTPM) LoadKey(hal.TPMObject) (crypto.Signer, error) { return k.key, nil }

func TestRequest_ReplacesThePendingOneOnlyByACompleteOne(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	newTPM := func() keyTPM { return keyTPM{key: bundle(t).Key} }
	must(Request(ctx, store, newTPM(), hal.ECDSAP256, []string{"relay.contoso.com"}, false))
	first := string(store.sections[sectionRequest])
	for _, c := range []struct {
		name, host string
		tpm        keyTPM
		broken     error
		replace    bool
		text       string
	}{
		{"an impossible name", "not a name", newTPM(), nil, true, "cannot be the name in a certificate"},
		{"no TPM", "relay.contoso.com", keyTPM{}, nil, true, "TPM absent"},
		{"broken flash", "relay.contoso.com", newTPM(), errors.New("EIO"), true, "EIO"},
		{"without the option to replace", "relay.contoso.com", newTPM(), nil, false, "a certificate request is pending"},
	} {
		store.broken = c.broken
		_, err := Request(ctx, store, c.tpm, hal.ECDSAP256, []string{c.host}, c.replace)
		if err == nil || !strings.Contains(err.Error(), c.text) || string(store.sections[sectionRequest]) != first {
			t.Errorf("%s: %v, pending: %.40s", c.name, err, store.sections[sectionRequest])
		}
	}
	store.broken = nil
	must(Request(ctx, store, newTPM(), hal.ECDSAP256, []string{"relay.contoso.com"}, true))
	if string(store.sections[sectionRequest]) == first {
		t.Error("the request was not replaced")
	}
}

func acceptAny(certificate.Path) error { return nil }

func TestSigner_RefusesAKeyOfAnotherCertificate(t *testing.T) {
	one, other := bundle(t), bundle(t)
	key := must(keyring.ProtectInFile(other.Key, binding(one.Leaf)))
	if _, err := (Client{Chain: one.Chain, Key: key}).Signer(nil); err == nil || !strings.Contains(err.Error(), "import the certificate again") {
		t.Errorf("got %v, want an error with %q", err, "import the certificate again")
	}
}

func TestLAN_KeepsItsCertificateUntilTheNameChanges(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	first := must(LAN(ctx, store, keyring.FileSealer(nil), "box.example"))
	second := must(LAN(ctx, store, keyring.FileSealer(nil), "box.example"))
	renamed := must(LAN(ctx, store, keyring.FileSealer(nil), "other.example"))
	if !first.Leaf.Equal(second.Leaf) {
		t.Error("got a new certificate on the second call, want the first")
	}
	if first.Leaf.Equal(renamed.Leaf) || renamed.Leaf.VerifyHostname("other.example") != nil {
		t.Error("the certificate is not for the new name")
	}
	if _, err := tls.X509KeyPair(pemPair(t, second)); err != nil {
		t.Errorf("key and certificate do not match: %v", err)
	}
}

func pemPair(t *testing.T, c tls.Certificate) (certificatePEM, keyPEM []byte) {
	t.Helper()
	der := must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestLAN_ReplacesItsCertificateOnlyWhenTheTPMKeyIsLost(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	must(LAN(ctx, store, keyring.FileSealer(nil), "box.example"))
	for state, kept := range map[hal.TPMState]bool{hal.TPMAbsent: true, hal.TPMReplaced: false} {
		before := string(store.sections[sectionLAN])
		sealer := keyring.FileSealer(nil)
		sealer.Open = func(context.Context, string, keyring.Secret) ([]byte, error) {
			return nil, &hal.TPMFault{State: state, Op: "unseal"}
		}
		_, err := LAN(ctx, store, sealer, "box.example")
		if (err != nil) != kept || (string(store.sections[sectionLAN]) == before) != kept {
			t.Errorf("TPM %s: got %v, kept %t, want kept %t", state, err, string(store.sections[sectionLAN]) == before, kept)
		}
	}
	if passing := must(Ephemeral("box.example")); passing.Leaf.VerifyHostname("box.example") != nil {
		t.Error("the passing certificate is for another name")
	}
}
