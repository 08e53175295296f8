package wire

import (
	"path/filepath"
	"testing"
	"time"

	"sealpost/hal/linux/flash"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
)

// openAgain opens a state as one more process does.
func openAgain(t *testing.T, s settings.Settings) *Box {
	t.Helper()
	device, err := ExistingState(s)
	if err != nil {
		t.Fatal(err)
	}
	store, err := StoreIn(device)
	if err != nil {
		t.Fatal(err)
	}
	b, err := assemble(s, device, store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// newState returns settings with a new state.
func newState(t *testing.T) settings.Settings {
	t.Helper()
	s := settings.Default()
	s.Keys.Protection, s.State.Path = settings.ProtectionFile, filepath.Join(t.TempDir(), "state")
	if err := flash.Create(s.State.Path, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestUsers_AreNoticedByARunningRelay adds a user to a state that another process has
// open.
func TestUsers_AreNoticedByARunningRelay(t *testing.T) {
	s := newState(t)
	users := openAgain(t, s).Users(func(err error) { t.Error(err) })
	if !users.Empty() {
		t.Error("a new state has users")
	}
	added := user.Change{User: user.User{Name: "printer"}, Password: "long enough"}
	if err := openAgain(t, s).Checker().Commit(t.Context(), candidate.Candidate{Users: []user.Change{added}}); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); users.Empty(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("the user was not noticed")
		}
	}
	if !users.Authenticate(t.Context(), "printer", "long enough") {
		t.Error("the user was refused")
	}
}
