package operator

import (
	"context"
	"path/filepath"
	"testing"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// inFile stores secrets in clear text.
var inFile = keyring.Sealer{
	Seal: func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
		return keyring.SecretInFile(name, secret), nil
	},
	Open: func(ctx context.Context, name string, stored keyring.Secret) ([]byte, error) {
		return keyring.OpenSecret(ctx, nil, name, stored)
	},
}

func TestUnlock_CountsWrongPINsInTheState(t *testing.T) {
	options, number := wire.Options{State: filepath.Join(t.TempDir(), "state")}, "4711"
	if err := flash.Create(options.State, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	err := options.WithStore(func(store candidate.Store) error {
		return candidate.Checker{Store: store, Sealer: inFile}.Commit(t.Context(), candidate.Candidate{PIN: &number})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		digits string
		right  bool
		wrong  int
	}{{"0000", false, 1}, {"0000", false, 2}, {number, true, 0}, {"0000", false, 1}} {
		// Each attempt opens the state again, as another process does.
		right, wrong, err := Local{Options: options}.Unlock(t.Context(), c.digits)
		if right != c.right || wrong != c.wrong || err != nil {
			t.Errorf("%s: got %v, %d wrong, %v, want %v, %d wrong", c.digits, right, wrong, err, c.right, c.wrong)
		}
	}
}
