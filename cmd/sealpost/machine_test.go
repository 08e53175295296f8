package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/led"
	"sealpost/provisioning/candidate"
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

// hold keeps everybody else from the state, as another process does.
func hold(t *testing.T, path string) (release func() error) {
	t.Helper()
	device, err := flash.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	area, err := device.Region(0, state.AreaSize)
	if err != nil {
		t.Fatal(err)
	}
	if release, err = area.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	return release
}

func TestATrialThatCannotBeConfirmedGoesOn(t *testing.T) {
	m, path := withState(t)
	m.beginTrial("")
	defer m.endTrial()
	release := hold(t, path)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.confirm(ended); err == nil || !m.onTrial() {
		t.Errorf("after %v there is no trial", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := m.confirm(t.Context()); err != nil || m.onTrial() {
		t.Errorf("after %v the trial goes on", err)
	}
	if err := m.confirm(t.Context()); !errors.Is(err, errNoTrial) {
		t.Errorf("a confirmation too late gave %v", err)
	}
}

func TestTheEndOfOneTrialLeavesTheNextAlone(t *testing.T) {
	m := &machine{}
	m.beginTrial("")
	first := m.trialEnds
	m.endTrial()
	if err := m.trialOver("", first); err != nil {
		t.Errorf("a trial that was confirmed ended with %v", err)
	}
	time.Sleep(time.Microsecond) // trials are known by their times
	m.beginTrial("")
	defer m.endTrial()
	if err := m.trialOver("", first); err != nil || !m.onTrial() {
		t.Errorf("the next trial ended with the first: %v", err)
	}
	if err := m.trialOver("", m.trialEnds); !errors.Is(err, errNoState) {
		t.Errorf("its own end gave %v", err)
	}
}

func TestTheEndOfATrialSparesWhatWasCommittedInThatMoment(t *testing.T) {
	m, _ := withState(t)
	const minimal = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
	texts := []string{minimal, minimal + "# on trial\n", minimal + "# committed just now\n"}
	for _, text := range texts {
		if err := (candidate.Checker{Store: m.store}).Commit(t.Context(), candidate.Candidate{Settings: text, Trial: true}); err != nil {
			t.Fatal(err)
		}
	}
	m.beginTrial(texts[1])
	defer m.endTrial()
	if err := m.trialOver(texts[1], m.trialEnds); err != nil || !m.onTrial() {
		t.Errorf("it ended the trial of the others: %v", err)
	}
	if stored, err := m.storedText(t.Context()); err != nil || stored != texts[2] {
		t.Errorf("stored are %q, %v", stored, err)
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
