package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"sealpost/hal"
)

// The labels prevent an encrypted key from being decrypted as a secret.
const (
	keyLabel    = "sealpost key\x00"
	secretLabel = "sealpost secret\x00"
)

// ErrDamaged is wrapped by the error of a key or secret whose encrypted part does
// not decrypt: it is damaged, or was stored under another name.
var ErrDamaged = errors.New("the encrypted part is damaged or belongs to another name")

// encrypt encrypts clearText with a new data key that tpm seals. It authenticates
// associated too.
func encrypt(ctx context.Context, tpm hal.TPM, clearText, associated []byte) (*hal.TPMObject, []byte, error) {
	dataKey := make([]byte, chacha20poly1305.KeySize)
	defer clear(dataKey)
	if _, err := rand.Read(dataKey); err != nil {
		return nil, nil, fmt.Errorf("generating a data key: %w", err)
	}
	sealed, err := tpm.Seal(ctx, dataKey)
	if err != nil {
		return nil, nil, hal.Tried("sealing a data key", err)
	}
	aead, err := chacha20poly1305.New(dataKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypting: %w", err)
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(clearText)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, fmt.Errorf("generating a nonce: %w", err)
	}
	return &sealed, aead.Seal(nonce, nonce, clearText, associated), nil
}

// decrypt decrypts what encrypt encrypted; the caller wipes it.
func decrypt(ctx context.Context, tpm hal.TPM, sealed *hal.TPMObject, blob, associated []byte) ([]byte, error) {
	if sealed == nil || len(blob) < chacha20poly1305.NonceSize {
		return nil, ErrDamaged
	}
	dataKey, err := tpm.Unseal(ctx, *sealed)
	if err != nil {
		return nil, hal.Tried("unsealing a data key", err)
	}
	defer clear(dataKey)
	aead, err := chacha20poly1305.New(dataKey)
	if err != nil {
		return nil, ErrDamaged
	}
	nonce, encrypted := blob[:aead.NonceSize()], blob[aead.NonceSize():]
	clearText, err := aead.Open(nil, nonce, encrypted, associated)
	if err != nil {
		return nil, ErrDamaged
	}
	return clearText, nil
}
