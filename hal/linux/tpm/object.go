package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// maxBlob bounds a stored TPM2B; an RSA-4096 key needs about 600 bytes.
const maxBlob = 4096

// decode checks the outer form of a stored object.
func decode(obj hal.TPMObject) (public tpm2.TPM2BPublic, private tpm2.TPM2BPrivate, err error) {
	for _, part := range [][]byte{obj.Root, obj.Public, obj.Private} {
		if len(part) < 2 || len(part) > maxBlob || int(part[0])<<8|int(part[1]) != len(part)-2 {
			return public, private, errors.New("the stored TPM object is damaged: import the certificate again")
		}
	}
	private = tpm2.TPM2BPrivate{Buffer: obj.Private[2:]}
	return tpm2.BytesAs2B[tpm2.TPMTPublic](obj.Public[2:]), private, nil
}

// decodeKey returns the public key of a stored key object.
func decodeKey(obj hal.TPMObject) (crypto.PublicKey, error) {
	encoded, _, err := decode(obj)
	if err != nil {
		return nil, err
	}
	public, err := encoded.Contents()
	if err != nil {
		return nil, fmt.Errorf("decoding the public part of a stored TPM key: %w", err)
	}
	key, err := tpm2.Pub(*public)
	if err != nil {
		return nil, fmt.Errorf("decoding the public key of a stored TPM key: %w", err)
	}
	if _, err := typeOf(key); err != nil {
		return nil, err
	}
	return key, nil
}

// typeOf returns the type of a public key, if it is one of hal's.
func typeOf(key crypto.PublicKey) (hal.KeyType, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch key.N.BitLen() {
		case 2048:
			return hal.RSA2048, nil
		case 3072:
			return hal.RSA3072, nil
		case 4096:
			return hal.RSA4096, nil
		}
	case *ecdsa.PublicKey:
		// ECDH checks that the point is on the curve.
		if _, err := key.ECDH(); err != nil {
			return "", fmt.Errorf("the public key is not a point on its curve: %w", err)
		}
		switch key.Curve {
		case elliptic.P256():
			return hal.ECDSAP256, nil
		case elliptic.P384():
			return hal.ECDSAP384, nil
		}
	}
	return "", errors.New("the key is not RSA-2048, RSA-3072, RSA-4096, P-256 or P-384")
}

// parameters describes a signing key of type t that leaves the scheme to each
// use.
func parameters(t hal.KeyType) (tpm2.TPMIAlgPublic, tpm2.TPMUPublicParms, error) {
	switch t {
	case hal.RSA2048, hal.RSA3072, hal.RSA4096:
		bits := map[hal.KeyType]tpm2.TPMIRSAKeyBits{hal.RSA2048: 2048, hal.RSA3072: 3072, hal.RSA4096: 4096}[t]
		return tpm2.TPMAlgRSA, tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: bits}), nil
	case hal.ECDSAP256:
		return tpm2.TPMAlgECC, tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}), nil
	case hal.ECDSAP384:
		return tpm2.TPMAlgECC, tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP384}), nil
	}
	return 0, tpm2.TPMUPublicParms{}, fmt.Errorf("key type %.20q is not known", t)
}

// signingKey is the public area of a key of type t. NoDA keeps power cuts,
// which a TPM counts as failed authorisations, from locking it; Decrypt is for
// RSADecrypt, which signs what was padded in software.
func signingKey(t hal.KeyType) (tpm2.TPMTPublic, error) {
	algorithm, parms, err := parameters(t)
	return tpm2.TPMTPublic{
		Type:    algorithm,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			UserWithAuth: true,
			NoDA:         true,
			SignEncrypt:  true,
			Decrypt:      algorithm == tpm2.TPMAlgRSA,
		},
		Parameters: parms,
	}, err
}
