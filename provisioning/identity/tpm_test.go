//go:build !quick

package identity

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/keyring"
	"sealpost/tests/rigs/parts"
)

func newTPM(t *testing.T) *tpm.TPM {
	t.Helper()
	chip := must(tpm.New(parts.StartSwtpm(t).Address()))
	t.Cleanup(func() { _ = chip.Close() })
	return chip
}

func TestComplete_AcceptsOnlyTheCertificateOfTheRequest(t *testing.T) {
	ctx := context.Background()
	store, chip := &memory{}, newTPM(t)
	if _, err := Complete(ctx, store, chip, certificate.Certificates{}, acceptAny); !errors.Is(err, ErrNoRequest) {
		t.Errorf("without a request: got %v, want %v", err, ErrNoRequest)
	}
	text, err := Request(ctx, store, chip, hal.ECDSAP256, []string{"relay.contoso.com"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Request(ctx, store, chip, hal.ECDSAP256, []string{"relay.contoso.com"}, false); !errors.Is(err, ErrPending) {
		t.Errorf("a second request: got %v, want %v", err, ErrPending)
	}
	if _, err := Import(ctx, store, inFile, bundle(t)); err != nil {
		t.Errorf("a PFX while the request is pending: %v", err)
	}
	block, _ := pem.Decode(text)
	request := must(x509.ParseCertificateRequest(block.Bytes))
	if err := request.CheckSignature(); err != nil || request.Subject.CommonName != "relay.contoso.com" {
		t.Errorf("got a request for %s, %v, want relay.contoso.com", request.Subject, err)
	}
	other := must(authority.IssueP256(nil, "relay.contoso.com"))
	if _, err := Complete(ctx, store, chip, certificate.Certificates{Parsed: []*x509.Certificate{other.Leaf}}, acceptAny); err == nil || !strings.Contains(err.Error(), "belongs to the private key") {
		t.Errorf("another key's certificate: got %v, want an error with %q", err, "belongs to the private key")
	}
	issued := must(authority.Certify(request.PublicKey, "relay.contoso.com"))
	chain := []*x509.Certificate{authority.Certificate, issued}
	unacceptable := errors.New("too old")
	if _, err := Complete(ctx, store, chip, certificate.Certificates{Parsed: chain}, func(certificate.Path) error { return unacceptable }); !errors.Is(err, unacceptable) {
		t.Errorf("rejected by the check: got %v, want %v", err, unacceptable)
	}
	client, err := Complete(ctx, store, chip, certificate.Certificates{Parsed: chain}, acceptAny)
	if err != nil || client.Key.Protection != keyring.TPMResident || len(client.Chain) != 1 {
		t.Fatalf("got %v, %v", client, err)
	}
	if _, pending := store.sections[sectionRequest]; pending {
		t.Error("the request is still pending")
	}
	must(Request(ctx, store, chip, hal.ECDSAP256, []string{"relay.contoso.com"}, false))
	must(Request(ctx, store, chip, hal.ECDSAP256, []string{"relay.contoso.com"}, true))
}

func TestOwnApplication_CreatesItsKeyInTheTPM(t *testing.T) {
	ctx, store, chip := context.Background(), &memory{}, newTPM(t)
	generate := func(ctx context.Context) (keyring.Key, error) { return keyring.Generate(ctx, chip, hal.RSA2048) }
	must(OwnApplication(ctx, store, chip, generate, "relay.contoso.com"))
	application := must(OwnApplication(ctx, store, chip, generate, "relay.contoso.com"))
	if application.Key.Protection != keyring.TPMResident {
		t.Errorf("the key is %s", application.Key.Protection)
	}
	signer := must(application.Signer(chip))
	digest := sha256.Sum256([]byte("an assertion"))
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature := must(signer.Sign(rand.Reader, digest[:], options))
	if err := rsa.VerifyPSS(application.Certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, options); err != nil {
		t.Error(err)
	}
}
