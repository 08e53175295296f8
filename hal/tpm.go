package hal

import (
	"context"
	"crypto"
	"fmt"
)

// KeyType is the type of an asymmetric key, as in settings and reports.
type KeyType string

// The key types a client certificate may have.
const (
	RSA2048   KeyType = "RSA-2048"
	RSA3072   KeyType = "RSA-3072"
	RSA4096   KeyType = "RSA-4096"
	ECDSAP256 KeyType = "P-256"
	ECDSAP384 KeyType = "P-384"
)

// TPMState is the state of the TPM, as a text for people.
type TPMState string

// The states of a TPM.
const (
	TPMReady     TPMState = "ready"
	TPMReplaced  TPMState = "cleared or replaced"
	TPMRestarted TPMState = "restarted"
	TPMBusy      TPMState = "busy"
	TPMLockedOut TPMState = "locked out"
	TPMAbsent    TPMState = "absent"
	TPMDenied    TPMState = "permission denied"
	TPMForeign   TPMState = "failed: not a TPM"
	TPMFailed    TPMState = "failed"
)

// Advice says what to do about a TPM in this state; empty if nothing.
func (s TPMState) Advice() string {
	switch s {
	case TPMReplaced:
		return "import the certificate again"
	case TPMRestarted, TPMBusy:
		return "wait a moment and try again"
	case TPMLockedOut:
		return "leave the box powered on until the TPM unlocks by itself"
	case TPMAbsent:
		return `check that the TPM is fitted and that keys.tpm in the settings names it; on a machine without a TPM, set keys.protection = "file"`
	case TPMDenied:
		return "run this as root, or add the user to the group tss and log in again"
	case TPMForeign:
		return "set keys.tpm to the path of a TPM, such as /dev/tpmrm0"
	case TPMFailed:
		return "switch the box off and on; if it stays so, the TPM must be replaced"
	}
	return ""
}

// TPMFault is the error of a TPM operation that failed because of the state of the
// TPM, not because of the request.
type TPMFault struct {
	State TPMState
	Op    string // what was tried, such as "sign"
	Err   error
}

func (f *TPMFault) Error() string {
	text := fmt.Sprintf("%s: TPM %s", f.Op, f.State)
	if advice := f.State.Advice(); advice != "" {
		text += ": " + advice
	}
	if f.Err != nil {
		text += " (" + f.Err.Error() + ")"
	}
	return text
}

func (f *TPMFault) Unwrap() error { return f.Err }

// Tried adds to an error of a TPM operation what the operation was for. It replaces the
// operation of a [TPMFault], and wraps any other error.
func Tried(what string, err error) error {
	if f, ok := err.(*TPMFault); ok {
		return &TPMFault{State: f.State, Op: what, Err: f.Err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// TPMObject is a key or a sealed secret in the form in which it is stored
// outside the TPM. Its private part is encrypted by the TPM under the storage
// root key, so it is of no use to any other TPM.
type TPMObject struct {
	Root    []byte `json:"root"`    // TPM2B_PUBLIC of the storage root key
	Public  []byte `json:"public"`  // TPM2B_PUBLIC of the object
	Private []byte `json:"private"` // TPM2B_PRIVATE of the object
}

// TPMCapabilities are the properties of a chip.
type TPMCapabilities struct {
	Manufacturer string    // such as "IFX"
	Firmware     string    // vendor's firmware version
	Keys         []KeyType // types the TPM can hold and sign with
}

// TPM is the box's security chip. Every method is safe for concurrent use,
// reconnects to a TPM that was restarted, and fails with a *TPMFault if the state
// of the TPM prevents it.
type TPM interface {
	// State returns the state of the TPM.
	State(ctx context.Context) TPMState

	// Capabilities returns what the chip can do, by trying it.
	Capabilities(ctx context.Context) (TPMCapabilities, error)

	// ImportKey wraps an RSA or ECDSA private key for this TPM. The caller
	// keeps key and must wipe it. The error wraps errors.ErrUnsupported if the TPM
	// cannot hold a key of this type.
	ImportKey(ctx context.Context, key crypto.Signer) (TPMObject, error)

	// CreateKey creates a key in the TPM that has never been outside of it.
	CreateKey(ctx context.Context, t KeyType) (TPMObject, error)

	// LoadKey returns a signer whose private operations happen inside the TPM.
	// It does not touch the TPM: the key is loaded when it first signs, and
	// again whenever the TPM has lost it.
	LoadKey(obj TPMObject) (crypto.Signer, error)

	// Seal encrypts at most 128 bytes so that only this TPM can decrypt them.
	Seal(ctx context.Context, secret []byte) (TPMObject, error)

	// Unseal decrypts what Seal encrypted.
	Unseal(ctx context.Context, obj TPMObject) ([]byte, error)
}
