package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// wrappable is a private key in the TPM's structures. sensitive is not encrypted.
type wrappable struct {
	keyType   hal.KeyType
	public    tpm2.TPMTPublic
	sensitive []byte // TPMT_SENSITIVE
}

// ImportKey implements hal.TPM.
func (t *TPM) ImportKey(ctx context.Context, key crypto.Signer) (hal.TPMObject, error) {
	const name = "import the key into the TPM"
	w, err := newWrappable(key)
	if err != nil {
		return hal.TPMObject{}, fmt.Errorf("%s: %w", name, err)
	}
	var obj hal.TPMObject
	err = t.do(ctx, operation{name: name, limit: t.timeout, secret: w.sensitive, run: func(l *link) (err error) {
		obj, err = l.importKey(w)
		return err
	}})
	return t.created(&obj, err)
}

// CreateKey implements hal.TPM.
func (t *TPM) CreateKey(ctx context.Context, keyType hal.KeyType) (hal.TPMObject, error) {
	const name = "make a key in the TPM"
	template, err := signingKey(keyType)
	if err != nil {
		return hal.TPMObject{}, fmt.Errorf("%s: %w", name, err)
	}
	template.ObjectAttributes.FixedTPM = true
	template.ObjectAttributes.FixedParent = true
	template.ObjectAttributes.SensitiveDataOrigin = true
	var obj hal.TPMObject
	err = t.do(ctx, operation{name: name, limit: keyCreationFactor * t.timeout, run: func(l *link) (err error) {
		if err := l.supports(keyType); err != nil {
			return err
		}
		if obj, err = l.create(template, nil); err != nil {
			return err
		}
		return l.tryKey(obj)
	}})
	return t.created(&obj, err)
}

// created returns a new object and records its root as the expected one.
// After an error obj is not read: the operation may still be writing it.
func (t *TPM) created(obj *hal.TPMObject, err error) (hal.TPMObject, error) {
	if err != nil {
		return hal.TPMObject{}, err
	}
	t.expect(obj.Root)
	return *obj, nil
}

// supports fails with errors.ErrUnsupported if the chip does not support a key type.
func (l *link) supports(t hal.KeyType) error {
	algorithm, parms, err := parameters(t)
	if err != nil {
		return err
	}
	_, err = tpm2.TestParms{Parameters: tpm2.TPMTPublicParms{Type: algorithm, Parameters: parms}}.Execute(l)
	for _, refusal := range []tpm2.TPMRC{
		tpm2.TPMRCValue, tpm2.TPMRCKeySize, tpm2.TPMRCCurve, tpm2.TPMRCAsymmetric, tpm2.TPMRCType, tpm2.TPMRCRange,
	} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("this TPM cannot hold %s keys: %w", t, errors.ErrUnsupported)
		}
	}
	if err != nil {
		return fmt.Errorf("asking the TPM whether it holds %s keys: %w", t, err)
	}
	return nil
}

func (l *link) importKey(w *wrappable) (hal.TPMObject, error) {
	none := hal.TPMObject{}
	if err := l.supports(w.keyType); err != nil {
		return none, err
	}
	if err := l.ensureRoot(); err != nil {
		return none, err
	}
	command, err := w.wrap(l.root)
	if err != nil {
		return none, fmt.Errorf("wrapping the key: %w", err)
	}
	if command.ParentHandle, err = l.parent(); err != nil {
		return none, err
	}
	rsp, err := command.Execute(l)
	if err != nil {
		return none, fmt.Errorf("importing the wrapped key: %w", err)
	}
	obj := hal.TPMObject{
		Root:    l.root.encoded,
		Public:  tpm2.Marshal(command.ObjectPublic),
		Private: tpm2.Marshal(rsp.OutPrivate),
	}
	return obj, l.tryKey(obj)
}

// create creates an object under the storage root key. data is the content of a sealed
// object, and nil for a key.
func (l *link) create(template tpm2.TPMTPublic, data []byte) (hal.TPMObject, error) {
	none := hal.TPMObject{}
	if err := l.ensureRoot(); err != nil {
		return none, err
	}
	parent, err := l.parent()
	if err != nil {
		return none, err
	}
	command := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(template)}
	if data != nil {
		command.InSensitive.Sensitive = &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data}),
		}
	}
	rsp, err := command.Execute(l)
	if err != nil {
		return none, fmt.Errorf("creating an object: %w", err)
	}
	return hal.TPMObject{
		Root:    l.root.encoded,
		Public:  tpm2.Marshal(rsp.OutPublic),
		Private: tpm2.Marshal(rsp.OutPrivate),
	}, nil
}

// tryKey signs and verifies the signature: only this proves that the chip has the key
// and can use it.
func (l *link) tryKey(obj hal.TPMObject) error {
	public, err := decodeKey(obj)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(obj.Public)
	request, err := newSignRequest(public, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = l.sign(obj, request)
	return err
}

// newWrappable converts a private key to the TPM's structures.
func newWrappable(key crypto.Signer) (*wrappable, error) {
	keyType, err := typeOf(key.Public())
	if err != nil {
		return nil, err
	}
	public, err := signingKey(keyType)
	if err != nil {
		return nil, err
	}
	w := &wrappable{keyType: keyType, public: public}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return w, w.setRSA(key)
	case *ecdsa.PrivateKey:
		return w, w.setECDSA(key)
	}
	return nil, errors.New("the key is not a private key in memory")
}

func (w *wrappable) setRSA(key *rsa.PrivateKey) error {
	if len(key.Primes) != 2 || key.E != 65537 {
		return fmt.Errorf("an RSA key with %d primes and exponent %d: %w", len(key.Primes), key.E, errors.ErrUnsupported)
	}
	prime := key.Primes[0].FillBytes(make([]byte, (key.N.BitLen()+15)/16))
	defer clear(prime)
	w.public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
	w.sensitive = tpm2.Marshal(tpm2.TPMTSensitive{
		SensitiveType: tpm2.TPMAlgRSA,
		Sensitive:     tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgRSA, &tpm2.TPM2BPrivateKeyRSA{Buffer: prime}),
	})
	return nil
}

func (w *wrappable) setECDSA(key *ecdsa.PrivateKey) error {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return fmt.Errorf("encoding the public key: %w", err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		return fmt.Errorf("encoding the private key: %w", err)
	}
	defer clear(scalar)
	x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
	w.public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y},
	})
	w.sensitive = tpm2.Marshal(tpm2.TPMTSensitive{
		SensitiveType: tpm2.TPMAlgECC,
		Sensitive:     tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: scalar}),
	})
	return nil
}

// wrap encrypts the key to the storage root key, as TPM2_Duplicate would
// (TPM 2.0 Part 1, 23.3), so that the clear key is never on the bus.
func (w *wrappable) wrap(root *storageRoot) (tpm2.Import, error) {
	name, err := tpm2.ObjectName(&w.public)
	if err != nil {
		return tpm2.Import{}, err
	}
	target, err := tpm2.ImportEncapsulationKey(root.public)
	if err != nil {
		return tpm2.Import{}, err
	}
	duplicate, seed, err := tpm2.CreateDuplicate(rand.Reader, target, name.Buffer, w.sensitive)
	return tpm2.Import{
		ObjectPublic: tpm2.New2B(w.public),
		Duplicate:    tpm2.TPM2BPrivate{Buffer: duplicate},
		InSymSeed:    tpm2.TPM2BEncryptedSecret{Buffer: seed},
	}, err
}
