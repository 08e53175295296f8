package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sealpost/hal"
)

// unsealTimeout limits the wait for the TPM within a signature.
const unsealTimeout = time.Minute

// Protect protects a private key by the TPM: tpm-resident, or tpm-sealed if the
// chip does not support the key type. Any other failure is an error: a temporary
// fault of the TPM must not weaken the protection. binding is the SHA-256 of the
// certificate; a tpm-sealed key opens only with the same one. The caller wipes
// key.
func Protect(ctx context.Context, tpm hal.TPM, key crypto.Signer, binding []byte) (Key, error) {
	obj, err := tpm.ImportKey(ctx, key)
	if err == nil {
		return Key{Protection: TPMResident, TPM: &obj}, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return Key{}, hal.Tried("protecting the key", err)
	}
	return Seal(ctx, tpm, key, binding)
}

// Seal protects a private key of a type that no TPM holds, such as Ed25519: it is
// tpm-sealed. The rest is as in [Protect].
func Seal(ctx context.Context, tpm hal.TPM, key crypto.Signer, binding []byte) (Key, error) {
	public, private, err := encode(key)
	if err != nil {
		return Key{}, err
	}
	defer clear(private)
	sealed, box, err := encrypt(ctx, tpm, private, associatedKey(binding))
	if err != nil {
		return Key{}, hal.Tried("protecting the key", err)
	}
	return Key{Protection: TPMSealed, TPM: sealed, Public: public, Box: box}, nil
}

// ProtectInFile stores a private key in clear text, for boxes whose settings
// require it.
func ProtectInFile(key crypto.Signer, binding []byte) (Key, error) {
	_, private, err := encode(key)
	if err != nil {
		return Key{}, err
	}
	return Key{Protection: File, Binding: bytes.Clone(binding), Clear: private}, nil
}

// Generate creates a key in the TPM for a certificate request. Its error wraps
// errors.ErrUnsupported if the chip does not support the type.
func Generate(ctx context.Context, tpm hal.TPM, keyType hal.KeyType) (Key, error) {
	obj, err := tpm.CreateKey(ctx, keyType)
	if err != nil {
		return Key{}, hal.Tried("creating a key", err)
	}
	return Key{Protection: TPMResident, TPM: &obj}, nil
}

func encode(key crypto.Signer) (public, private []byte, err error) {
	if public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return nil, nil, fmt.Errorf("encoding the public key: %w", err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, nil, fmt.Errorf("encoding the private key: %w", err)
	}
	return public, private, nil
}

func associatedKey(binding []byte) []byte {
	return append([]byte(keyLabel), binding...)
}

// errForeign is the error of a stored key that does not belong to the
// certificate.
var errForeign = errors.New("the stored key is damaged or belongs to another certificate: import the certificate again")

// Open returns a signer for a stored key. It does not use the TPM before the
// first signature, so a box without its TPM still starts; its signatures then
// fail with a *hal.TPMFault. A tpm-sealed key stays in memory once it is
// unsealed. tpm may be nil for a key with the protection File.
func Open(tpm hal.TPM, stored Key, binding []byte) (crypto.Signer, error) {
	switch stored.Protection {
	case TPMResident:
		if stored.TPM == nil {
			return nil, fmt.Errorf("opening the key: %w", errForeign)
		}
		return tpm.LoadKey(*stored.TPM)
	case TPMSealed:
		public, err := x509.ParsePKIXPublicKey(stored.Public)
		if err != nil {
			return nil, fmt.Errorf("opening the key: %w", errForeign)
		}
		return &sealedSigner{tpm: tpm, stored: stored, binding: bytes.Clone(binding), public: public}, nil
	case File:
		if !bytes.Equal(stored.Binding, binding) {
			return nil, fmt.Errorf("opening the key: %w", errForeign)
		}
		return decodePrivate(stored.Clear)
	}
	return nil, fmt.Errorf("opening the key: the protection %.40q is not known: import the certificate again", string(stored.Protection))
}

func decodePrivate(pkcs8 []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		// The parser's error may quote the key.
		return nil, fmt.Errorf("decoding the key: %w", errForeign)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("decoding the key: %w", errForeign)
	}
	return key, nil
}

// sealedSigner unseals its key at the first signature.
type sealedSigner struct {
	tpm     hal.TPM
	stored  Key
	binding []byte
	public  crypto.PublicKey

	mu      sync.Mutex
	private crypto.Signer // nil until unsealed
}

func (s *sealedSigner) Public() crypto.PublicKey { return s.public }

func (s *sealedSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	key, err := s.unsealed()
	if err != nil {
		return nil, err
	}
	return key.Sign(rand, digest, opts)
}

// Format implements fmt.Formatter: the clear key must not be printed.
func (s *sealedSigner) Format(f fmt.State, _ rune) { printProtection(f, "signer", TPMSealed) }

func (s *sealedSigner) unsealed() (crypto.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.private != nil {
		return s.private, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), unsealTimeout)
	defer cancel()
	pkcs8, err := decrypt(ctx, s.tpm, s.stored.TPM, s.stored.Box, associatedKey(s.binding))
	if errors.Is(err, ErrDamaged) {
		err = errForeign
	}
	if err != nil {
		return nil, hal.Tried("unsealing the key", err)
	}
	defer clear(pkcs8)
	key, err := decodePrivate(pkcs8)
	if err != nil {
		return nil, err
	}
	if !samePublic(key.Public(), s.public) {
		return nil, fmt.Errorf("unsealing the key: %w", errForeign)
	}
	s.private = key
	return key, nil
}

func samePublic(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
