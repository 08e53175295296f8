package identity

import (
	"context"
	"crypto"
	"crypto/x509"
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
