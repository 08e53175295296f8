package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"sealpost/hal/linux/flash"
	"sealpost/provisioning/state"
)

func TestATrialThatCannotBeConfirmedGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := flash.Create(path, state.AreaSize); err != nil {
		t.Fatal(err)
	}
	device, err := flash.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	m := &machine{}
	if m.store, err = storeIn(device); err != nil {
		t.Fatal(err)
	}
	m.beginTrial()
	defer m.endTrial()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other, err := flash.Open(path) // as another process has it
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	area, err := other.Region(0, state.AreaSize)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := area.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.confirm(ended); err == nil || m.trial == nil {
		t.Errorf("after %v the trial is %v", err, m.trial)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := m.confirm(t.Context()); err != nil || m.trial != nil {
		t.Errorf("after %v the trial is %v", err, m.trial)
	}
	if err := m.confirm(t.Context()); !errors.Is(err, errNoTrial) {
		t.Errorf("a confirmation too late gave %v", err)
	}
}

func TestTheEndOfOneTrialLeavesTheNextAlone(t *testing.T) {
	m := &machine{}
	m.beginTrial()
	first := m.trialEnds
	m.endTrial()
	if err := m.trialOver(first); err != nil {
		t.Errorf("a trial that was confirmed ended with %v", err)
	}
	time.Sleep(time.Microsecond) // trials are known by their times
	m.beginTrial()
	defer m.endTrial()
	if err := m.trialOver(first); err != nil || m.trial == nil {
		t.Errorf("the next trial ended with the first: %v", err)
	}
	if err := m.trialOver(m.trialEnds); !errors.Is(err, errNoState) {
		t.Errorf("its own end gave %v", err)
	}
}
