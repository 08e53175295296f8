package credential

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sealpost/hal/simflash"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// area is a settings area on a simulated flash that one goroutine uses.
type area struct{ *simflash.Flash }

func (area) Lock(context.Context) (func() error, error) { return func() error { return nil }, nil }

func newFlash() *simflash.Flash { return simflash.New(32<<10, 1) }

var application = Application{"https://issuer.example/token", "box"}

func vaultOn(flash *simflash.Flash) Vault {
	return Vault{Store: state.Open(area{flash}), Sealer: keyring.FileSealer(nil), Application: application}
}

func stored(t *testing.T, v Vault, kind Kind) string {
	t.Helper()
	secret, err := v.Load(t.Context(), kind)
	if err != nil && !errors.Is(err, ErrNone) {
		t.Fatal(err)
	}
	return string(secret)
}

func save(t *testing.T, v Vault, kind Kind, secret string) {
	t.Helper()
	if err := v.Save(t.Context(), kind, []byte(secret)); err != nil {
		t.Fatal(err)
	}
}

func TestVault_KeepsEachKindSeparately(t *testing.T) {
	v := vaultOn(newFlash())
	if got := stored(t, v, RefreshToken); got != "" {
		t.Errorf("new box: got %q, want nothing", got)
	}
	save(t, v, ClientSecret, "s1")
	save(t, v, RefreshToken, "r1")
	save(t, v, RefreshToken, "r2")
	if stored(t, v, ClientSecret) != "s1" || stored(t, v, RefreshToken) != "r2" {
		t.Errorf("got %q and %q", stored(t, v, ClientSecret), stored(t, v, RefreshToken))
	}
}

// beforeUpdate changes the area before an Update, as another process may.
type beforeUpdate struct {
	*state.Store
	change func()
}

func (b beforeUpdate) Update(ctx context.Context, change func(state.Sections) error) error {
	b.change()
	return b.Store.Update(ctx, change)
}

func TestReplace_ReplacesOnlyTheExpectedCredential(t *testing.T) {
	v := vaultOn(newFlash())
	save(t, v, RefreshToken, "r1")
	if err := v.Replace(t.Context(), RefreshToken, []byte("r1"), []byte("r2")); err != nil || stored(t, v, RefreshToken) != "r2" {
		t.Errorf("got %v, stored %q, want r2", err, stored(t, v, RefreshToken))
	}
	if err := v.Replace(t.Context(), RefreshToken, []byte("r1"), []byte("r3")); !errors.Is(err, ErrChanged) || stored(t, v, RefreshToken) != "r2" {
		t.Errorf("replacing an older token: got %v, stored %q, want %v, r2", err, stored(t, v, RefreshToken), ErrChanged)
	}
	racing := v
	racing.Store = beforeUpdate{v.Store.(*state.Store), func() { save(t, v, RefreshToken, "new") }}
	if err := racing.Replace(t.Context(), RefreshToken, []byte("r2"), []byte("r3")); !errors.Is(err, ErrChanged) || stored(t, v, RefreshToken) != "new" {
		t.Errorf("replaced at the same time: got %v, stored %q, want ErrChanged and new", err, stored(t, v, RefreshToken))
	}
	if err := v.Replace(t.Context(), ClientSecret, nil, []byte("s1")); !errors.Is(err, ErrNone) {
		t.Errorf("nothing stored: got %v, want %v", err, ErrNone)
	}
}

func TestVault_RejectsAnotherApplication(t *testing.T) {
	v := vaultOn(newFlash())
	save(t, v, RefreshToken, "r1")
	for _, other := range []Application{
		{"https://issuer.example/other", "box"}, {"https://issuer.example/token", "other"}, {"", `box" at "https://issuer.example/token`},
	} {
		foreign := v
		foreign.Application = other
		if _, err := foreign.Load(t.Context(), RefreshToken); !errors.Is(err, ErrNone) {
			t.Errorf("%v: got %v, want %v", other, err, ErrNone)
		}
	}
	if stored(t, v, RefreshToken) != "r1" {
		t.Error("got no r1 for the application that stored it")
	}
}

func TestVault_KeepsARefreshTokenOverAPowerCut(t *testing.T) {
	const calls = 6
	for call := 1; call <= calls; call++ {
		flash := newFlash()
		save(t, vaultOn(flash), RefreshToken, "r1")
		c := flash.Counts()
		flash.At(c.Writes+c.Flushes+call, simflash.Cut)
		err := vaultOn(flash).Save(t.Context(), RefreshToken, []byte("r2"))
		if call == calls && err != nil {
			t.Fatalf("got error %v at call %d, want a save of fewer calls", err, calls)
		}
		for after := range flash.PowerCut(32) {
			if got := stored(t, vaultOn(after), RefreshToken); got != "r2" && (err == nil || got != "r1") {
				t.Fatalf("cut at call %d: got %q stored, want r1 or r2", call, got)
			}
		}
	}
}

func TestSave_RejectsEmptyAndOversizedSecrets(t *testing.T) {
	v := vaultOn(newFlash())
	for _, secret := range []string{"", strings.Repeat("hidden", MaxSize/6+1)} {
		err := v.Save(t.Context(), ClientSecret, []byte(secret))
		if err == nil || strings.Contains(err.Error(), "hidden") || stored(t, v, ClientSecret) != "" {
			t.Errorf("%d bytes: got %v, want an error without the secret, and nothing stored", len(secret), err)
		}
	}
}

func TestLoad_ReportsADamagedCredential(t *testing.T) {
	v := vaultOn(newFlash())
	for _, text := range []string{"", "{", "[]", `"x"`, `{"name":5}`} {
		err := v.Store.Update(t.Context(), func(sections state.Sections) error {
			sections[string(ClientSecret)] = []byte(text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Load(t.Context(), ClientSecret); err == nil || !strings.Contains(err.Error(), "enter it again") {
			t.Errorf("%q: got %v, want an error with %q", text, err, "enter it again")
		}
	}
}

func TestVault_AdvisesToEnterAnUndecryptableSecretAgain(t *testing.T) {
	v := vaultOn(newFlash())
	if err := v.Save(t.Context(), ClientSecret, []byte("hunter2")); err != nil {
		t.Fatal(err)
	}
	v.Sealer.Open = func(context.Context, string, keyring.Secret) ([]byte, error) { return nil, keyring.ErrDamaged }
	if _, err := v.Load(t.Context(), ClientSecret); err == nil || !strings.Contains(err.Error(), "enter it again") {
		t.Errorf("got %v, want an error that says to enter it again", err)
	}
}
