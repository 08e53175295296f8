//go:build !quick

package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sealpost/hal"
	"sealpost/tests/rigs/parts"
)

var hashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// signWith signs once and verifies the signature with the standard library.
func signWith(signer crypto.Signer, opts crypto.SignerOpts) error {
	h := opts.HashFunc().New()
	h.Write([]byte("what is signed"))
	digest := h.Sum(nil)
	signature, err := signer.Sign(rand.Reader, digest, opts)
	if err != nil {
		return err
	}
	switch key := signer.Public().(type) {
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			want := *pss
			if want.SaltLength == rsa.PSSSaltLengthAuto {
				want.SaltLength = rsa.PSSSaltLengthEqualsHash
			}
			return rsa.VerifyPSS(key, opts.HashFunc(), digest, signature, &want)
		}
		return rsa.VerifyPKCS1v15(key, opts.HashFunc(), digest, signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, digest, signature) {
			return errors.New("the ECDSA signature does not verify")
		}
		return nil
	}
	return fmt.Errorf("public key is a %T", signer.Public())
}

func sign(signer crypto.Signer) error { return signWith(signer, crypto.SHA256) }

func TestSign_SupportsEverySchemeOfEveryKeyType(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	for _, keyType := range chipTypes {
		_, signer := importKey(t, chip, keyType)
		if !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(privateKeys()[keyType].Public()) {
			t.Errorf("%s: the signer has another public key", keyType)
		}
		for _, hash := range hashes {
			schemes := map[string]crypto.SignerOpts{"plain": hash}
			if _, ok := signer.Public().(*rsa.PublicKey); ok {
				schemes["PSS, salt as long as the hash"] = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
				schemes["PSS, automatic salt"] = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: hash}
				schemes["PSS, salt of 20"] = &rsa.PSSOptions{SaltLength: 20, Hash: hash}
			}
			for name, opts := range schemes {
				t.Run(fmt.Sprintf("%s %s %s", keyType, hash, name), func(t *testing.T) {
					if err := signWith(signer, opts); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

func TestCreateKey_MakesAKeyThatSigns(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	for _, keyType := range []hal.KeyType{hal.RSA2048, hal.ECDSAP256, hal.ECDSAP384} {
		obj, err := chip.CreateKey(t.Context(), keyType)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := chip.LoadKey(obj)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
		if err != nil {
			t.Fatal(err)
		}
		request, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := request.CheckSignature(); err != nil {
			t.Errorf("%s: %v", keyType, err)
		}
	}
}

func TestSign_RefusesInvalidRequests(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	_, rsaSigner := importKey(t, chip, hal.RSA2048)
	_, ecdsaSigner := importKey(t, chip, hal.ECDSAP256)
	tests := map[string]struct {
		signer crypto.Signer
		digest int
		opts   crypto.SignerOpts
	}{
		"RSA, no hash":         {rsaSigner, 32, crypto.Hash(0)},
		"RSA, SHA-1":           {rsaSigner, 20, crypto.SHA1},
		"RSA, cut digest":      {rsaSigner, 31, crypto.SHA256},
		"RSA, endless salt":    {rsaSigner, 32, &rsa.PSSOptions{SaltLength: 300, Hash: crypto.SHA256}},
		"RSA, negative salt":   {rsaSigner, 32, &rsa.PSSOptions{SaltLength: -7, Hash: crypto.SHA256}},
		"ECDSA, SHA-1":         {ecdsaSigner, 20, crypto.SHA1},
		"ECDSA, longer digest": {ecdsaSigner, 64, crypto.SHA256},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if signature, err := test.signer.Sign(rand.Reader, make([]byte, test.digest), test.opts); err == nil {
				t.Errorf("got a signature of %d bytes, want an error", len(signature))
			}
		})
	}
}

func TestCapabilities_ListsSupportedKeyTypes(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	found, err := chip.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found.Manufacturer != "IBM" || found.Firmware == "" {
		t.Errorf("manufacturer %q, firmware %q", found.Manufacturer, found.Firmware)
	}
	if !slices.Equal(found.Keys, chipTypes) {
		t.Errorf("got key types %v, want %v", found.Keys, chipTypes)
	}
	if _, err := chip.ImportKey(t.Context(), privateKeys()[hal.RSA4096]); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("importing RSA-4096: %v, want errors.ErrUnsupported", err)
	}
	if _, err := chip.CreateKey(t.Context(), hal.RSA4096); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("making RSA-4096: %v, want errors.ErrUnsupported", err)
	}
}

func TestSign_WorksWithMoreKeysThanSlots(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	var signers []crypto.Signer
	for _, keyType := range []hal.KeyType{hal.ECDSAP256, hal.ECDSAP384, hal.RSA2048, hal.RSA3072} {
		_, signer := importKey(t, chip, keyType)
		signers = append(signers, signer)
	}
	sealed, err := chip.Seal(t.Context(), []byte("between signatures"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := sign(signers[i%len(signers)]); err != nil {
				t.Errorf("signer %d: %v", i, err)
			}
			if got, err := chip.Unseal(t.Context(), sealed); err != nil || string(got) != "between signatures" {
				t.Errorf("unsealing %d: %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

func TestTPM_IsSharedByTwoPrograms(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	firstTPM, secondTPM := open(t, swtpm.Address()), open(t, swtpm.Address())
	_, first := importKey(t, firstTPM, hal.ECDSAP256)
	_, second := importKey(t, secondTPM, hal.ECDSAP384)
	for range 2 {
		if err := errors.Join(sign(first), sign(second)); err != nil {
			t.Fatal(err)
		}
	}
}
