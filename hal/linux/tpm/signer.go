package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// signer is a key whose private operations happen inside the TPM.
type signer struct {
	tpm    *TPM
	object hal.TPMObject
	public crypto.PublicKey
}

// LoadKey implements hal.TPM.
func (t *TPM) LoadKey(obj hal.TPMObject) (crypto.Signer, error) {
	public, err := decodeKey(obj)
	if err != nil {
		return nil, fmt.Errorf("load the key into the TPM: %w", err)
	}
	t.expect(obj.Root)
	return &signer{t, obj, public}, nil
}

func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer with SHA-256, SHA-384 and SHA-512. The random
// source is ignored. Waiting for the TPM's other work ends after twice the
// timeout of one operation.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	const name = "sign"
	request, err := newSignRequest(s.public, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.tpm.timeout)
	defer cancel()
	var signature []byte
	err = s.tpm.do(ctx, operation{name: name, limit: s.tpm.timeout, run: func(l *link) (err error) {
		signature, err = l.sign(s.object, request)
		return err
	}})
	if err != nil {
		return nil, err
	}
	return signature, nil
}

// signRequest is a request for one signature.
type signRequest struct {
	// make returns the signature that the TPM makes with a loaded key.
	make func(l *link, key tpm2.AuthHandle) ([]byte, error)
	// valid checks the signature that the TPM returned.
	valid func(signature []byte) bool
}

func newSignRequest(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (*signRequest, error) {
	hash := opts.HashFunc()
	if _, ok := digestInfo[hash]; !ok || len(digest) != hash.Size() {
		return nil, fmt.Errorf("a digest of %d bytes for hash %v is not supported", len(digest), hash)
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return newPSS(key, digest, hash, pss)
		}
		return newPKCS1v15(key, digest, hash)
	case *ecdsa.PublicKey:
		return newECDSA(key, digest), nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", public)
}

func newPKCS1v15(key *rsa.PublicKey, digest []byte, hash crypto.Hash) (*signRequest, error) {
	padded, err := padPKCS1v15(digest, hash, key.Size())
	if err != nil {
		return nil, err
	}
	return &signRequest{
		make: rawRSA(padded),
		valid: func(signature []byte) bool {
			return rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
		},
	}, nil
}

func newPSS(key *rsa.PublicKey, digest []byte, hash crypto.Hash, opts *rsa.PSSOptions) (*signRequest, error) {
	padded, err := padPSS(digest, opts, hash, key.Size())
	if err != nil {
		return nil, err
	}
	return &signRequest{
		make: rawRSA(padded),
		valid: func(signature []byte) bool {
			return rsa.VerifyPSS(key, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		},
	}, nil
}

// rawRSA is the RSA private operation without padding. The TPM does not pad, because it
// may use a PSS salt that TLS peers reject.
func rawRSA(padded []byte) func(*link, tpm2.AuthHandle) ([]byte, error) {
	return func(l *link, key tpm2.AuthHandle) ([]byte, error) {
		rsp, err := tpm2.RSADecrypt{
			KeyHandle:  key,
			CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: padded},
			InScheme:   tpm2.TPMTRSADecrypt{Scheme: tpm2.TPMAlgNull},
		}.Execute(l)
		if err != nil {
			return nil, fmt.Errorf("the TPM's RSA operation: %w", err)
		}
		return rsp.Message.Buffer, nil
	}
}

// newECDSA truncates the digest to the curve's size (FIPS 186-5, 6.4.1), because a
// TPM accepts no digest longer than the curve's order.
func newECDSA(key *ecdsa.PublicKey, digest []byte) *signRequest {
	truncated := digest[:min(len(digest), (key.Curve.Params().BitSize+7)/8)]
	hash := tpm2.TPMAlgSHA256
	if len(truncated) == crypto.SHA384.Size() {
		hash = tpm2.TPMAlgSHA384
	}
	return &signRequest{
		make: func(l *link, handle tpm2.AuthHandle) ([]byte, error) {
			rsp, err := tpm2.Sign{
				KeyHandle: handle,
				Digest:    tpm2.TPM2BDigest{Buffer: truncated},
				InScheme: tpm2.TPMTSigScheme{
					Scheme:  tpm2.TPMAlgECDSA,
					Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: hash}),
				},
				Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
			}.Execute(l)
			if err != nil {
				return nil, fmt.Errorf("the TPM's ECDSA operation: %w", err)
			}
			parts, err := rsp.Signature.Signature.ECDSA()
			if err != nil {
				return nil, fmt.Errorf("decoding an ECDSA signature: %w", err)
			}
			return asn1.Marshal(struct{ R, S *big.Int }{
				new(big.Int).SetBytes(parts.SignatureR.Buffer),
				new(big.Int).SetBytes(parts.SignatureS.Buffer),
			})
		},
		valid: func(signature []byte) bool { return ecdsa.VerifyASN1(key, digest, signature) },
	}
}

func (l *link) sign(obj hal.TPMObject, request *signRequest) ([]byte, error) {
	handle, err := l.key(obj)
	if err != nil {
		return nil, err
	}
	key, err := l.authorised(handle)
	if err != nil {
		return nil, err
	}
	signature, err := request.make(l, key)
	if err != nil {
		return nil, err
	}
	if !request.valid(signature) {
		return nil, errUnverified
	}
	return signature, nil
}
