package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/led"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// withState is a machine that has nothing but a state, and where that lies.
func withState(t *testing.T) (*machine, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "box.state")
	if err := flash.Create(path, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	device, err := flash.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	m := &machine{}
	if m.store, err = storeIn(device); err != nil {
		t.Fatal(err)
	}
	return m, path
}

func TestAMachineWithoutStorageSaysSoOfEverySettingsCall(t *testing.T) {
	m := &machine{}
	m.confirmed = m.newConfirmedCommit()
	for name, call := range map[string]func(context.Context) error{
		"applied": m.confirmed.Applied, "confirm": m.confirmed.Confirm, "giveback": m.confirmed.RollBack,
	} {
		if err := call(t.Context()); !errors.Is(err, errNoState) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestABoxThatCannotReadItsSettingsIsNotTakenForANewOne(t *testing.T) {
	if shown := led.Judge((&machine{}).condition()); shown != led.Factory {
		t.Errorf("a new box shows that %s", shown.Means)
	}
	if shown := led.Judge((&machine{unreadable: true}).condition()); shown != led.Unwell {
		t.Errorf("the lamp says that %s", shown.Means)
	}
}

func TestMachine_KeepsTheNetworkOfSettingsThatItCannotUse(t *testing.T) {
	m, path := withState(t)
	const newer = "[network]\naddress = \"192.168.10.25/24\"\ngateway = \"192.168.10.1\"\ndns = [\"192.168.10.1\"]\nname = \"leeds\"\n[upstream]\nmethod = \"quantum\"\n"
	if err := m.store.Update(t.Context(), func(sections state.Sections) error {
		sections["settings"], sections["settings schema"] = []byte(newer), []byte("2")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	stored, err := m.stored(t.Context())
	var unusable *settings.StoredError
	if !errors.As(err, &unusable) || stored.Network.Address.String() != "192.168.10.25/24" || stored.Network.Name != "leeds" {
		t.Errorf("%v, network %+v", err, stored.Network)
	}
	if _, err := storedSettings(&options{state: path}); !errors.As(err, &unusable) || !strings.Contains(err.Error(), "install the version again") {
		t.Errorf("the relay hears %v", err)
	}
}

func TestAStickWhoseProcessWasEndedRightAfterItsCommitIsPutIntoForce(t *testing.T) {
	m, _ := withState(t)
	silent := func() *json.Decoder { return json.NewDecoder(strings.NewReader("")) }
	if v := m.verdict(t.Context(), silent(), ""); v.Applied || len(v.Faults) != 1 {
		t.Errorf("before its commit: %v", v)
	}
	c := candidate.Candidate{Settings: "[senders]\naccepted_domains = [\"contoso.com\"]\n", Origin: "a"}
	if err := (candidate.Checker{Store: m.store}).Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if v := m.verdict(t.Context(), silent(), ""); !v.Applied || len(v.Faults) != 0 {
		t.Errorf("after its commit: %v", v)
	}
	if v := m.verdict(t.Context(), silent(), "a"); v.Applied {
		t.Errorf("a stick that changed nothing after one that did: %v", v)
	}
}
