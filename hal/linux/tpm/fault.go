package tpm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

var (
	errNotTPM      = errors.New("the device is not a TPM")
	errStalled     = errors.New("the TPM did not answer in time")
	errBroken      = errors.New("the connection to the TPM broke")
	errOtherRoot   = errors.New("the storage root key is not the one this object was wrapped for")
	errBlob        = errors.New("the TPM refuses the object")
	errForeignRoot = errors.New("the object at TPM handle 0x81000001 is not a storage key: clear the TPM")
	errOwned       = errors.New("the TPM's owner password is set: clear the TPM")
	errUnverified  = errors.New("the TPM's signature does not verify")
)

// isLost reports whether a new connection may resolve err: the TPM was restarted, or
// has lost the loaded objects.
func isLost(err error) bool {
	if errors.Is(err, errBroken) {
		return true
	}
	code, ok := errors.AsType[tpm2.TPMRC](err)
	if !ok {
		return false
	}
	switch code {
	case tpm2.TPMRCInitialize, tpm2.TPMRCReboot, tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting,
		tpm2.TPMRCObjectMemory, tpm2.TPMRCSessionMemory, tpm2.TPMRCMemory,
		tpm2.TPMRCObjectHandles, tpm2.TPMRCSessionHandles:
		return true
	}
	if code >= tpm2.TPMRCReferenceH0 && code <= tpm2.TPMRCReferenceS6 {
		return true
	}
	// A handle or session that now belongs to something else.
	return errors.Is(code, tpm2.TPMRCHandle) || isUnproven(code)
}

// isUnproven reports whether the TPM failed to authenticate the session. If a new
// session does not help, the TPM does not have the root key that it returned.
func isUnproven(code tpm2.TPMRC) bool {
	return errors.Is(code, tpm2.TPMRCAuthFail) || errors.Is(code, tpm2.TPMRCBadAuth)
}

// breaksLink reports whether the connection is unusable after err.
func breaksLink(err error) bool {
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	if _, ok := errors.AsType[tpm2.TPMRC](err); ok {
		return isLost(err)
	}
	return true
}

// stateOf returns the state of the TPM that an error indicates: TPMReady if the error
// is about the request and not about the TPM.
func stateOf(err error) hal.TPMState {
	code, isCode := errors.AsType[tpm2.TPMRC](err)
	switch {
	case isRequest(err):
		return hal.TPMReady
	case errors.Is(err, errOtherRoot), errors.Is(err, errBlob):
		return hal.TPMReplaced
	case isCode && isUnproven(code):
		return hal.TPMFailed
	case isLost(err):
		return hal.TPMRestarted
	case errors.Is(err, errNotTPM):
		return hal.TPMForeign
	case isAbsence(err) && errors.Is(err, fs.ErrPermission):
		return hal.TPMDenied
	case isAbsence(err):
		return hal.TPMAbsent
	case !isCode:
		return hal.TPMFailed
	case errors.Is(code, tpm2.TPMRCLockout):
		return hal.TPMLockedOut
	case errors.Is(code, tpm2.TPMRCFailure), errors.Is(code, tpm2.TPMRCNeedsTest):
		return hal.TPMFailed
	}
	return hal.TPMReady
}

// isRequest reports whether an error is about the request, or names its own cure.
func isRequest(err error) bool {
	for _, request := range []error{errors.ErrUnsupported, errClosed, errForeignRoot, errOwned} {
		if errors.Is(err, request) {
			return true
		}
	}
	return false
}

// isAbsence reports whether the TPM could not be reached at all.
func isAbsence(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op == "dial"
	}
	path, ok := errors.AsType[*os.PathError](err)
	return ok && path.Op == "open"
}

// asFault turns err into a TPMFault if the TPM's state caused it.
func asFault(op string, err error) error {
	if err == nil {
		return nil
	}
	if fault, ok := errors.AsType[*hal.TPMFault](err); ok {
		return &hal.TPMFault{State: fault.State, Op: op, Err: fault.Err}
	}
	state := stateOf(err)
	if state == hal.TPMReady {
		return fmt.Errorf("%s: %w", op, err)
	}
	return &hal.TPMFault{State: state, Op: op, Err: err}
}

// transportError classifies an error of a channel as a stall, a lost connection or an
// invalid response.
func transportError(err error) error {
	switch {
	case err == nil, errors.Is(err, errInvalidResponse):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStalled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return errBroken
	}
	return errors.Join(errBroken, err)
}
