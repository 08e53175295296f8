package keyring

import (
	"bytes"
	"context"
	"fmt"

	"sealpost/hal"
)

// Sealer protects and opens secrets as the box's settings require.
type Sealer struct {
	Seal func(ctx context.Context, name string, secret []byte) (Secret, error)
	Open func(ctx context.Context, name string, stored Secret) ([]byte, error)
}

// TPMSealer seals with tpm.
func TPMSealer(tpm hal.TPM) Sealer {
	return Sealer{
		Seal: func(ctx context.Context, name string, secret []byte) (Secret, error) {
			return SealSecret(ctx, tpm, name, secret)
		},
		Open: func(ctx context.Context, name string, stored Secret) ([]byte, error) {
			return OpenSecret(ctx, tpm, name, stored)
		},
	}
}

// FileSealer stores secrets in clear text, for boxes whose settings require it, and
// opens those that tpm sealed before; tpm may be nil.
func FileSealer(tpm hal.TPM) Sealer {
	return Sealer{
		Seal: func(_ context.Context, name string, secret []byte) (Secret, error) {
			return SecretInFile(name, secret), nil
		},
		Open: TPMSealer(tpm).Open,
	}
}

// SealSecret encrypts a secret of any size. Only this TPM can decrypt it, and only
// under the same name.
func SealSecret(ctx context.Context, tpm hal.TPM, name string, secret []byte) (Secret, error) {
	sealed, blob, err := encrypt(ctx, tpm, secret, []byte(secretLabel+name))
	if err != nil {
		return Secret{}, hal.Tried(fmt.Sprintf("protecting the secret %q", name), err)
	}
	return Secret{Protection: TPMSealed, Name: name, TPM: sealed, Box: blob}, nil
}

// SecretInFile stores a secret in clear text, for boxes whose settings require
// it.
func SecretInFile(name string, secret []byte) Secret {
	return Secret{Protection: File, Name: name, Clear: bytes.Clone(secret)}
}

// OpenSecret decrypts a secret; the caller wipes it. Its error is a *hal.TPMFault
// if the state of the TPM prevents it. tpm may be nil for a secret with the
// protection File.
func OpenSecret(ctx context.Context, tpm hal.TPM, name string, stored Secret) ([]byte, error) {
	if stored.Name != name {
		return nil, fmt.Errorf("opening the secret %q: the stored secret is %q: enter it again", name, stored.Name)
	}
	switch stored.Protection {
	case File:
		return bytes.Clone(stored.Clear), nil
	case TPMSealed:
		secret, err := decrypt(ctx, tpm, stored.TPM, stored.Box, []byte(secretLabel+name))
		if err != nil {
			return nil, hal.Tried(fmt.Sprintf("opening the secret %q", name), err)
		}
		return secret, nil
	}
	return nil, fmt.Errorf("opening the secret %q: unknown protection %.40q: enter it again", name, string(stored.Protection))
}
