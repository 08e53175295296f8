package spoolkey

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// area is a settings area in memory.
type area struct{ sections state.Sections }

func (a *area) Load(context.Context) (state.Sections, error) { return a.sections, nil }

func (a *area) Update(_ context.Context, change func(state.Sections) error) error {
	return change(a.sections)
}

var ctx = context.Background()

// countingSealer stores secrets in clear text, and counts how often one is opened.
func countingSealer(opened *int, fault error) keyring.Sealer {
	return keyring.Sealer{
		Seal: func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.SecretInFile(name, secret), nil
		},
		Open: func(ctx context.Context, name string, stored keyring.Secret) ([]byte, error) {
			*opened++
			if fault != nil {
				return nil, fault
			}
			return keyring.OpenSecret(ctx, nil, name, stored)
		},
	}
}

func TestOpen_CreatesTheKeyOnce(t *testing.T) {
	a, opened := &area{state.Sections{}}, 0
	first, err := Open(ctx, a, countingSealer(&opened, nil), 32)
	if err != nil || len(first) != 32 || bytes.Equal(first, make([]byte, 32)) || opened != 0 {
		t.Fatalf("%d bytes, %v, opened %d times", len(first), err, opened)
	}
	second, err := Open(ctx, a, countingSealer(&opened, nil), 32)
	if err != nil || !bytes.Equal(second, first) || opened != 1 {
		t.Errorf("another key, or %v, opened %d times", err, opened)
	}
	renewed, err := Renew(ctx, a, countingSealer(&opened, nil), 32)
	if err != nil || bytes.Equal(renewed, first) {
		t.Errorf("the same key, or %v", err)
	}
}

func TestOpen_NeverReplacesAnUnreadableKey(t *testing.T) {
	a, opened := &area{state.Sections{}}, 0
	first, err := Open(ctx, a, countingSealer(&opened, nil), 32)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state    hal.TPMState
		replaced bool
	}{{hal.TPMReplaced, true}, {hal.TPMAbsent, false}} {
		_, err := Open(ctx, a, countingSealer(&opened, &hal.TPMFault{State: c.state, Err: errors.New("no")}), 32)
		if err == nil || errors.Is(err, ErrReplaced) != c.replaced {
			t.Errorf("%s: got %v", c.state, err)
		}
	}
	if second, err := Open(ctx, a, countingSealer(&opened, nil), 32); err != nil || !bytes.Equal(second, first) {
		t.Errorf("got another key, or %v", err)
	}
	a.sections[section] = []byte("{truncated")
	if _, err := Open(ctx, a, countingSealer(&opened, nil), 32); err == nil {
		t.Error("a truncated section was accepted")
	}
}

// absentTPM is a mock of a missing TPM.
type absentTPM struct{ hal.TPM }

func (absentTPM) Seal(context.Context, []byte) (hal.TPMObject, error) {
	return hal.TPMObject{}, &hal.TPMFault{State: hal.TPMAbsent, Op: "seal a secret", Err: errors.New("open /dev/tpmrm0: no such file")}
}

func TestOpen_ReportsAMissingTPMInOneClause(t *testing.T) {
	sealer := keyring.Sealer{Seal: func(ctx context.Context, name string, secret []byte) (keyring.Secret, error) {
		return keyring.SealSecret(ctx, absentTPM{}, name, secret)
	}}
	_, err := Open(t.Context(), &area{}, sealer, 32)
	want := "creating the spool's key: TPM absent: " + hal.TPMAbsent.Advice() + " (open /dev/tpmrm0: no such file)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
