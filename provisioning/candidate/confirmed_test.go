package candidate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/provisioning/state"
)

// appliance is an Applier and a Recorder that records its calls.
type appliance struct {
	store    Store
	mu       sync.Mutex
	inForce  string
	recorded []string
	faults   []string
}

func (a *appliance) Reload(ctx context.Context) {
	running, _ := Load(ctx, a.store)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inForce = running.Settings
}

// text returns the settings in force.
func (a *appliance) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inForce
}

func (a *appliance) SettingsApplied(trial time.Duration) {
	a.recorded = append(a.recorded, "applied, trial "+trial.String())
}
func (a *appliance) SettingsRolledBack()      { a.recorded = append(a.recorded, "rolled back") }
func (a *appliance) RollbackFailed(err error) { a.faults = append(a.faults, err.Error()) }

func (a *appliance) confirmedCommit() *ConfirmedCommit {
	return NewConfirmedCommit(ConfirmedCommitConfig{Store: a.store, Applier: a, Recorder: a})
}

// onTrial returns an appliance with the settings after on trial, which a rollback
// replaces by the settings before.
func onTrial(t *testing.T) (*ConfirmedCommit, *appliance, *memory) {
	t.Helper()
	m := &memory{}
	a := &appliance{store: m}
	c := a.confirmedCommit()
	commit(t, m, Candidate{Settings: before})
	commit(t, m, Candidate{Settings: after, Trial: true})
	if err := c.Applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trial, remaining := c.Trial(); !trial || remaining != ConfirmTimeout || a.text() != after {
		t.Fatalf("got on trial %t, %s remaining, in force %q", trial, remaining, a.text())
	}
	return c, a, m
}

// pass advances the time, and waits until everything that is due is done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var errFlash = errors.New("the flash failed")

func TestConfirmedCommit_RollsBackUnconfirmedSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		pass(ConfirmTimeout - time.Nanosecond)
		if trial, remaining := c.Trial(); !trial || remaining != time.Nanosecond || a.text() != after {
			t.Errorf("shortly before the timeout: got on trial %t, %s remaining, in force %q", trial, remaining, a.text())
		}
		pass(time.Nanosecond)
		if trial, _ := c.Trial(); trial || a.text() != before || running(t, m) != (Running{Settings: before, Schema: 1}) {
			t.Errorf("after the timeout: got on trial %t, in force %q, stored %+v", trial, a.text(), running(t, m))
		}
		if want := []string{"applied, trial 2m0s", "rolled back"}; !slices.Equal(a.recorded, want) || a.faults != nil {
			t.Errorf("got recorded %q, faults %q", a.recorded, a.faults)
		}
	})
}

func TestConfirmedCommit_KeepsConfirmedSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		pass(ConfirmTimeout - time.Nanosecond)
		if err := c.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if a.text() != after || running(t, m) != (Running{Settings: after, Schema: 1}) {
			t.Errorf("got %q in force, stored %+v", a.text(), running(t, m))
		}
		if err := c.Confirm(t.Context()); !errors.Is(err, ErrNoTrial) {
			t.Errorf("a late confirmation: got %v, want %v", err, ErrNoTrial)
		}
	})
}

func TestConfirmedCommit_ContinuesATrialThatCannotBeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		pass(time.Minute)
		m.fail(errFlash)
		if err := c.Confirm(t.Context()); !errors.Is(err, errFlash) {
			t.Errorf("got %v, want %v", err, errFlash)
		}
		if trial, remaining := c.Trial(); !trial || remaining != ConfirmTimeout-time.Minute {
			t.Errorf("got on trial %t, %s left", trial, remaining)
		}
		m.fail(nil)
		pass(time.Minute)
		if a.text() != before {
			t.Errorf("got %q in force", a.text())
		}
	})
}

func TestConfirmedCommit_RollsBackTwoTrialsInARowToTheSettingsBeforeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		pass(time.Minute)
		commit(t, m, Candidate{Settings: after + "#", Trial: true})
		if err := c.Applied(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(ConfirmTimeout - time.Second)
		if a.text() != after+"#" {
			t.Errorf("after the timeout of the first trial: got settings %q in force, want those of the second", a.text())
		}
		pass(time.Second)
		if a.text() != before {
			t.Errorf("got %q in force", a.text())
		}
	})
}

func TestConfirmedCommit_RestartsTheTrialForSettingsThatAreNotAppliedYet(t *testing.T) {
	for name, second := range map[string]Candidate{
		"on trial": {Settings: after + "#", Trial: true},
		"a stick":  {Settings: after + "#", Origin: "a"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, a, m := onTrial(t)
			pass(ConfirmTimeout - time.Second)
			commit(t, m, second)
			pass(time.Second)
			if trial, remaining := c.Trial(); !trial || remaining != ConfirmTimeout || a.text() != after {
				t.Errorf("%s: got on trial %t, %s remaining, in force %q", name, trial, remaining, a.text())
			}
			if err := c.Applied(t.Context()); err != nil || a.text() != second.Settings {
				t.Errorf("%s: got %v, in force %q", name, err, a.text())
			}
			if trial, _ := c.Trial(); trial != second.Trial {
				t.Errorf("%s: got on trial %t", name, trial)
			}
			c.Stop()
		})
	}
}

func TestConfirmedCommit_LeavesTheNextTrialAloneWhenTheFirstOnesTimerIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		first := c.trial
		if err := c.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.expire(first)
		if a.text() != after || running(t, m).Settings != after {
			t.Error("got confirmed settings rolled back")
		}
		commit(t, m, Candidate{Settings: after + "#", Trial: true})
		if err := c.Applied(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.expire(first)
		if trial, _ := c.Trial(); !trial || a.text() != after+"#" {
			t.Errorf("got on trial %t, in force %q", trial, a.text())
		}
		c.Stop()
	})
}

func TestConfirmedCommit_RepeatsARollbackThatFailsAndRecordsEachErrorOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		m.fail(errFlash)
		pass(time.Hour)
		if trial, remaining := c.Trial(); !trial || remaining != 0 || a.text() != after || len(a.faults) != 1 {
			t.Errorf("got on trial %t, %s remaining, in force %q, faults %q", trial, remaining, a.text(), a.faults)
		}
		m.fail(nil)
		pass(maxRollbackDelay)
		if trial, _ := c.Trial(); trial || a.text() != before || len(a.faults) != 1 {
			t.Errorf("got on trial %t, in force %q, faults %q", trial, a.text(), a.faults)
		}
	})
}

func TestConfirmedCommit_RollsBackNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		m.fail(errFlash)
		if err := c.RollBack(t.Context()); !errors.Is(err, errFlash) || a.text() != after {
			t.Errorf("got %v, in force %q", err, a.text())
		}
		m.fail(nil)
		if err := c.RollBack(t.Context()); err != nil || a.text() != before {
			t.Errorf("got %v, in force %q", err, a.text())
		}
		if trial, _ := c.Trial(); trial {
			t.Error("got settings still on trial, want none")
		}
	})
}

func TestConfirmedCommit_StartRollsBackSettingsThatAPowerCutLeftOnTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		c.Stop() // the process has ended
		next := a.confirmedCommit()
		if err := next.Start(t.Context()); err != nil || running(t, m) != (Running{Settings: before, Schema: 1}) {
			t.Errorf("got %v, stored %+v", err, running(t, m))
		}
		if a.text() != after {
			t.Error("got a call of the Applier by Start, want none")
		}
	})
}

func TestConfirmedCommit_StartRepeatsARollbackThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, m := onTrial(t)
		c.Stop()
		m.fail(errFlash)
		next := a.confirmedCommit()
		if err := next.Start(t.Context()); !errors.Is(err, errFlash) {
			t.Errorf("got %v, want %v", err, errFlash)
		}
		if trial, remaining := next.Trial(); !trial || remaining != 0 {
			t.Errorf("got on trial %t, %s left", trial, remaining)
		}
		m.fail(nil)
		pass(firstRollbackDelay)
		if trial, _ := next.Trial(); trial || a.text() != before {
			t.Errorf("got on trial %t, in force %q", trial, a.text())
		}
	})
}

func TestConfirmedCommit_StartWithoutATrialLeavesNothingBehindOnAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		commit(t, m, Candidate{Settings: before})
		m.fail(errFlash)
		a := &appliance{store: m}
		c := a.confirmedCommit()
		if err := c.Start(t.Context()); !errors.Is(err, errFlash) {
			t.Errorf("got %v, want %v", err, errFlash)
		}
		m.fail(nil)
		pass(time.Hour)
		if a.recorded != nil || a.text() != "" {
			t.Errorf("got recorded %q, in force %q, want neither", a.recorded, a.text())
		}
	})
}

// waiting is a Store that another process keeps locked.
type waiting struct{ *memory }

func (waiting) Update(ctx context.Context, _ func(state.Sections) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestConfirmedCommit_StopEndsAnAttemptThatWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := &appliance{store: waiting{m}}
		c := a.confirmedCommit()
		commit(t, m, Candidate{Settings: before})
		commit(t, m, Candidate{Settings: after, Trial: true})
		if err := c.Applied(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(ConfirmTimeout)
		c.Stop()
		pass(time.Hour)
		if trial, _ := c.Trial(); trial || a.text() != after || a.faults != nil {
			t.Errorf("got on trial %t, in force %q, faults %q", trial, a.text(), a.faults)
		}
	})
}

func TestConfirmedCommit_IsSafeForConcurrentUse(t *testing.T) {
	m := &memory{}
	a := &appliance{store: m}
	c := NewConfirmedCommit(ConfirmedCommitConfig{Store: m, Timeout: 10 * time.Microsecond, Applier: a, Recorder: a})
	commit(t, m, Candidate{Settings: before})
	var users sync.WaitGroup
	for n := range 4 {
		users.Go(func() {
			for range 200 {
				if err := checker(m).Commit(t.Context(), Candidate{Settings: after, Trial: true}); err != nil {
					t.Error(err)
				}
				if err := c.Applied(t.Context()); err != nil {
					t.Error(err)
				}
				c.Trial()
				switch n {
				case 0:
					if err := c.Confirm(t.Context()); err != nil && !errors.Is(err, ErrNoTrial) {
						t.Error(err)
					}
				case 1:
					if err := c.RollBack(t.Context()); err != nil {
						t.Error(err)
					}
				case 2:
					c.Stop()
				}
			}
		})
	}
	users.Wait()
	c.Stop()
	if trial, _ := c.Trial(); trial {
		t.Error("got a trial after Stop, want none")
	}
}

func TestConfirmedCommit_ReturnsItsErrorWithoutAStore(t *testing.T) {
	missing := errors.New("no storage")
	c := NewConfirmedCommit(ConfirmedCommitConfig{NoStore: missing})
	for name, call := range map[string]func(context.Context) error{"Start": c.Start, "Applied": c.Applied, "Confirm": c.Confirm, "RollBack": c.RollBack} {
		if err := call(t.Context()); !errors.Is(err, missing) {
			t.Errorf("%s: got %v, want %v", name, err, missing)
		}
	}
	c.Stop()
}
