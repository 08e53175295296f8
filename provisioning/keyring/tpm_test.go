//go:build !quick

package keyring_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/keyring"
	"sealpost/tests/rigs/parts"
)

func open(t *testing.T, s *parts.Swtpm) *tpm.TPM {
	t.Helper()
	chip, err := tpm.New(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chip.Close() })
	return chip
}

func TestProtect_UsesTheBestProtectionOfTheTPM(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t))
	inFile := func(_ context.Context, _ hal.TPM, key crypto.Signer, binding []byte) (keyring.Key, error) {
		return keyring.ProtectInFile(key, binding)
	}
	tests := []struct {
		name    string
		key     crypto.Signer
		protect func(context.Context, hal.TPM, crypto.Signer, []byte) (keyring.Key, error)
		want    keyring.Protection
	}{
		{"P-256 fits the chip", p256(), keyring.Protect, keyring.TPMResident},
		{"RSA-4096 does not", rsa4096(), keyring.Protect, keyring.TPMSealed},
		{"settings say file", p256(), inFile, keyring.File},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, err := test.protect(t.Context(), chip, test.key, binding)
			if err != nil {
				t.Fatal(err)
			}
			if key.Protection != test.want {
				t.Errorf("got protection %s, want %s", key.Protection, test.want)
			}
			signer, err := keyring.Open(chip, roundTrip(t, key), binding)
			if err != nil {
				t.Fatal(err)
			}
			if !test.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(signer.Public()) {
				t.Error("got a signer with another public key")
			}
			mustSign(t, signer)
			mustSign(t, signer)
		})
	}
}

func TestGenerate_MakesAKeyThatSignsARequest(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t))
	key, err := keyring.Generate(t.Context(), chip, hal.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keyring.Open(chip, roundTrip(t, key), nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"relay.example"}}, signer)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckSignature(); err != nil {
		t.Error(err)
	}
	if _, err := keyring.Generate(t.Context(), chip, hal.RSA4096); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("unsupported key type: got %v, want errors.ErrUnsupported", err)
	}
}

func TestProtect_FailsWithoutTheTPM(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm)
	if err := swtpm.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{p256(), rsa4096()} {
		stored, err := keyring.Protect(t.Context(), chip, key, binding)
		fault, ok := errors.AsType[*hal.TPMFault](err)
		if !ok || fault.State != hal.TPMAbsent {
			t.Errorf("%T: got error %v, want an absent TPM", key, err)
		}
		if stored.Protection != "" {
			t.Errorf("%T: got a key stored as %s, want none", key, stored.Protection)
		}
	}
}

func TestOpen_OpensASealedKeyOnlyForItsCertificate(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t))
	key, err := keyring.Protect(t.Context(), chip, rsa4096(), binding)
	if err != nil {
		t.Fatal(err)
	}
	damaged := roundTrip(t, key)
	damaged.Box[len(damaged.Box)-1] ^= 1
	short := roundTrip(t, key)
	short.Box = short.Box[:3]
	other := roundTrip(t, key)
	if other.Public, err = x509.MarshalPKIXPublicKey(p256().Public()); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		key     keyring.Key
		binding []byte
	}{
		{"another certificate", key, []byte("another")},
		{"a damaged encrypted part", damaged, binding},
		{"a truncated encrypted part", short, binding},
		{"another public key", other, binding},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			signer, err := keyring.Open(chip, test.key, test.binding)
			if err != nil {
				t.Fatal(err)
			}
			err = signError(signer)
			if err == nil || !strings.Contains(err.Error(), "import the certificate again") {
				t.Errorf("got error %v, want one with \"import the certificate again\"", err)
			}
		})
	}
}

func TestOpen_RefusesInvalidStoredKeysWithACure(t *testing.T) {
	inFile, err := keyring.ProtectInFile(p256(), binding)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]keyring.Key{
		"nothing":                {},
		"resident without key":   {Protection: keyring.TPMResident},
		"sealed without public":  {Protection: keyring.TPMSealed},
		"unknown protection":     {Protection: "magic"},
		"file, no key":           {Protection: keyring.File, Binding: binding, Clear: []byte("x")},
		"file, other binding":    {Protection: keyring.File, Clear: inFile.Clear},
		"resident, damaged blob": {Protection: keyring.TPMResident, TPM: &hal.TPMObject{Public: []byte{0, 9}}},
	}
	chip := open(t, parts.StartSwtpm(t))
	for name, key := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := keyring.Open(chip, key, binding)
			if err == nil || !strings.Contains(err.Error(), "import the certificate again") {
				t.Errorf("got error %v, want one with \"import the certificate again\"", err)
			}
		})
	}
}

func TestSealedSigner_UnsealsOnceAndRetriesFailures(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	key, err := keyring.Protect(t.Context(), open(t, swtpm), rsa4096(), binding)
	if err != nil {
		t.Fatal(err)
	}
	if err := swtpm.Stop(); err != nil {
		t.Fatal(err)
	}
	signer, err := keyring.Open(open(t, swtpm), key, binding)
	if err != nil {
		t.Fatalf("opening while the TPM is stopped: got error %v", err)
	}
	if fault, ok := errors.AsType[*hal.TPMFault](signError(signer)); !ok || fault.State != hal.TPMAbsent {
		t.Fatalf("signing while the TPM is stopped: got %v, want an absent TPM", signError(signer))
	}
	if err := swtpm.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); signError(signer) != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("signing after the TPM is back: got error %v", signError(signer))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := swtpm.Stop(); err != nil {
		t.Fatal(err)
	}
	mustSign(t, signer)
}

func TestOpen_RefusesKeysAndSecretsOfAnotherTPM(t *testing.T) {
	chip, otherChip := open(t, parts.StartSwtpm(t)), open(t, parts.StartSwtpm(t))
	resident, err := keyring.Protect(t.Context(), chip, p256(), binding)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keyring.Protect(t.Context(), chip, rsa4096(), binding)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []keyring.Key{resident, sealed} {
		signer, err := keyring.Open(otherChip, key, binding)
		if err != nil {
			t.Fatal(err)
		}
		wantReplaced(t, string(key.Protection), signError(signer))
	}
	secret, err := keyring.SealSecret(t.Context(), chip, "client secret", []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = keyring.OpenSecret(t.Context(), otherChip, "client secret", secret)
	wantReplaced(t, "secret", err)
}

func TestOpenSecret_ReturnsSecretsOfAnySize(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t))
	for _, size := range []int{0, 1, 128, 129, 100_000} {
		secret := bytes.Repeat([]byte{7}, size)
		sealed, err := keyring.SealSecret(t.Context(), chip, "token", secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, stored := range []keyring.Secret{sealed, keyring.SecretInFile("token", secret)} {
			got, err := keyring.OpenSecret(t.Context(), chip, "token", roundTrip(t, stored))
			if err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%d bytes as %s: got %d bytes, error %v", size, stored.Protection, len(got), err)
			}
		}
	}
}

func TestOpenSecret_RefusesOtherNamesAndDamage(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t))
	sealed, err := keyring.SealSecret(t.Context(), chip, "token", []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	renamed := sealed
	renamed.Name = "password"
	damaged := roundTrip(t, sealed)
	damaged.Box[20] ^= 1
	tests := map[string]struct {
		secret keyring.Secret
		name   string
	}{
		"requested under another name": {sealed, "password"},
		"renamed":                      {renamed, "password"},
		"damaged":                      {damaged, "token"},
		"file under another name":      {keyring.SecretInFile("token", nil), "password"},
		"unknown protection":           {keyring.Secret{Name: "token", Protection: "magic"}, "token"},
		"nothing sealed":               {keyring.Secret{Name: "token", Protection: keyring.TPMSealed}, "token"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := keyring.OpenSecret(t.Context(), chip, test.name, test.secret)
			if err == nil || !strings.Contains(err.Error(), strconv.Quote(test.name)) {
				t.Errorf("got error %v, want one that names the secret %q", err, test.name)
			}
		})
	}
}
