package tpm

import (
	"bytes"
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// maxSealed is what every TPM 2.0 accepts (MAX_SYM_DATA, TPM 2.0 Part 2).
const maxSealed = 128

// sealedData is the public area of a sealed secret.
var sealedData = tpm2.TPMTPublic{
	Type:    tpm2.TPMAlgKeyedHash,
	NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{
		FixedTPM:     true,
		FixedParent:  true,
		UserWithAuth: true,
		NoDA:         true,
	},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{}),
}

// Seal implements hal.TPM.
func (t *TPM) Seal(ctx context.Context, secret []byte) (hal.TPMObject, error) {
	const name = "seal a secret"
	if len(secret) == 0 || len(secret) > maxSealed {
		return hal.TPMObject{}, fmt.Errorf("%s: %d bytes instead of 1 to %d", name, len(secret), maxSealed)
	}
	secret = bytes.Clone(secret)
	var obj hal.TPMObject
	err := t.do(ctx, operation{name: name, limit: t.timeout, secret: secret, run: func(l *link) (err error) {
		obj, err = l.create(sealedData, secret)
		return err
	}})
	return t.created(&obj, err)
}

// Unseal implements hal.TPM.
func (t *TPM) Unseal(ctx context.Context, obj hal.TPMObject) ([]byte, error) {
	const name = "unseal a secret"
	if _, _, err := decode(obj); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.expect(obj.Root)
	var secret []byte
	err := t.do(ctx, operation{name: name, limit: t.timeout, run: func(l *link) (err error) {
		secret, err = l.unseal(obj)
		return err
	}})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// unseal loads the object only for the unsealing. TPM2_Unseal has no command parameter
// to encrypt, which the reused session requires, so a separate session encrypts the
// response.
func (l *link) unseal(obj hal.TPMObject) ([]byte, error) {
	if err := l.requireRoot(obj.Root); err != nil {
		return nil, err
	}
	handle, err := l.load(obj)
	if err != nil {
		return nil, err
	}
	session := tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize,
		tpm2.Salted(rootHandle, *l.root.public), tpm2.AESEncryption(128, tpm2.EncryptOut))
	rsp, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: handle.Handle, Name: handle.Name, Auth: session},
	}.Execute(l)
	flushed := l.flush(handle.Handle)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	return rsp.OutData.Buffer, flushed
}
