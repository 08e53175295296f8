package keyring_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
)

var (
	binding = []byte("SHA-256 of the certificate")

	rsa4096 = sync.OnceValue(func() crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, 4096)
		if err != nil {
			panic(err)
		}
		return key
	})
	p256 = sync.OnceValue(func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

// roundTrip encodes a key as it is stored, and decodes it again.
func roundTrip[T any](t *testing.T, v T) T {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var decoded T
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func mustSign(t *testing.T, signer crypto.Signer) {
	t.Helper()
	digest := sha256.Sum256([]byte("hello"))
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	switch key := signer.Public().(type) {
	case *rsa.PublicKey:
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, digest[:], signature) {
			err = errors.New("ECDSA signature does not verify")
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func signError(signer crypto.Signer) error {
	digest := sha256.Sum256([]byte("hello"))
	_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	return err
}

func wantReplaced(t *testing.T, what string, err error) {
	t.Helper()
	fault, ok := errors.AsType[*hal.TPMFault](err)
	if !ok || fault.State != hal.TPMReplaced || !strings.Contains(err.Error(), "import the certificate again") {
		t.Errorf("%s: error %v, want a replaced TPM and its cure", what, err)
	}
}

func TestKeyring_PrintsNoKeysOrSecrets(t *testing.T) {
	secret := []byte("hunter2hunter2")
	key, err := keyring.ProtectInFile(p256(), binding)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	stored := keyring.SecretInFile("token", secret)
	for _, value := range []any{key, &key, stored, &stored, []keyring.Key{key}, struct{ K keyring.Key }{key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&log, verb, value)
		}
		logger.Info("x", "value", value)
	}
	for _, clear := range [][]byte{secret, key.Clear[20:40]} {
		for _, form := range []string{string(clear), hex.EncodeToString(clear), strings.Trim(fmt.Sprint(clear), "[]")} {
			if strings.Contains(log.String(), form) {
				t.Errorf("the log contains %s", form)
			}
		}
	}
	if !strings.Contains(log.String(), "key (file)") {
		t.Errorf("the protection is not printed: got %s, want text with %q", log.String(), "key (file)")
	}
}

func TestProtection_ExplainsEachKindInOneClause(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range []keyring.Protection{keyring.TPMResident, keyring.TPMSealed, keyring.File, "magic"} {
		text := p.Explain()
		if text == "" || strings.Contains(text, ".") || seen[text] {
			t.Errorf("%s: %q is not one clause that differs from the others", p, text)
		}
		seen[text] = true
	}
}
