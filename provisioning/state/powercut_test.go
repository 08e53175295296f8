package state

import (
	"errors"
	"fmt"
	"testing"

	"sealpost/hal/simflash"
)

const updates = 5

// script runs updates until the power is cut or the store rejects one, and returns how
// many were acknowledged and how many were begun.
func script(a *area) (acknowledged, begun int) {
	store := Open(a)
	for n := 1; n <= updates; n++ {
		begun = n
		if setIn(store, n) == nil {
			acknowledged = n
		}
	}
	return acknowledged, begun
}

// calls returns the number of writes and flushes of the script without a fault.
func calls(t *testing.T) int {
	t.Helper()
	a := newArea(1)
	if acknowledged, _ := script(a); acknowledged != updates {
		t.Fatal("got an error without a fault, want every update acknowledged")
	}
	return a.Counts().Writes + a.Counts().Flushes
}

// loadedUpdate loads the area and returns which update it has, from first to last.
func loadedUpdate(t *testing.T, a *area, first, last int) int {
	t.Helper()
	sections, err := Open(a).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := max(0, first); n <= last; n++ {
		if string(sections["config"]) == text(n) {
			return n
		}
	}
	t.Fatalf("got %.40q, want one of updates %d to %d", sections["config"], first, last)
	return 0
}

// cutAgain changes the settings after a power cut, and cuts the power again at each
// step of the change.
func cutAgain(t *testing.T, after *simflash.Flash) {
	t.Helper()
	now := loadedUpdate(t, areaOn(after), 0, updates)
	next := updates + 1
	call := 0
	for afterSecond := range after.PowerCut(8) {
		call++
		afterSecond.At(call, simflash.Cut)
		err := set(areaOn(afterSecond), next)
		for last := range afterSecond.PowerCut(8) {
			a := areaOn(last)
			if got := load(t, a); got != text(next) && (err == nil || got != text(now)) {
				t.Fatalf("second cut at call %d: got %.40q", call, got)
			}
			if err := set(a, next+1); err != nil || load(t, a) != text(next+1) {
				t.Fatalf("after the second cut: got %q, %v, want %q", load(t, a), err, text(next+1))
			}
		}
	}
}

func TestStore_SurvivesAPowerCutAtAnyCall(t *testing.T) {
	for call := 1; call <= calls(t)+1; call++ {
		a := newArea(uint64(call))
		a.At(call, simflash.Cut)
		acknowledged, begun := script(a)
		for after := range a.PowerCut(64) {
			loadedUpdate(t, areaOn(after), acknowledged, min(begun, acknowledged+1))
			cutAgain(t, after)
		}
	}
}

func TestStore_SurvivesAnErrorAtAnyCall(t *testing.T) {
	for call := 1; call <= calls(t); call++ {
		for _, outcome := range []simflash.Outcome{simflash.Failed, simflash.Short} {
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("call %d outcome %d seed %d", call, outcome, seed), func(t *testing.T) {
					t.Parallel()
					a := newArea(seed)
					a.At(call, outcome)
					acknowledged, _ := script(a)
					if acknowledged == updates {
						t.Fatal("got every update acknowledged, want an error")
					}
					loadedUpdate(t, a, acknowledged, acknowledged+1)
					for after := range a.PowerCut(64) {
						loadedUpdate(t, areaOn(after), acknowledged, acknowledged+1)
						cutAgain(t, after)
					}
				})
			}
		}
	}
}

func TestStore_DistrustsTheFlashAfterAFailedWrite(t *testing.T) {
	a := newArea(1)
	store := Open(a)
	if err := setIn(store, 1); err != nil {
		t.Fatal(err)
	}
	c := a.Counts()
	a.At(c.Writes+c.Flushes+2, simflash.Failed)
	if err := setIn(store, 2); !errors.Is(err, simflash.ErrIO) {
		t.Fatalf("got %v, want %v", err, simflash.ErrIO)
	}
	before := a.Counts()
	if err := setIn(store, 3); !errors.Is(err, simflash.ErrIO) || a.Counts() != before {
		t.Errorf("next update: got %v and calls %+v, want %v and %+v", err, a.Counts(), simflash.ErrIO, before)
	}
	if err := store.Erase(t.Context()); !errors.Is(err, simflash.ErrIO) || a.Counts() != before {
		t.Errorf("erase: got %v and calls %+v, want %v and %+v", err, a.Counts(), simflash.ErrIO, before)
	}
}

// TestStore_LosesAtMostOneUpdateToALostFlush: a flush that falsely returned success loses at most the update that relied on it,
// even if the power is cut during the next update.
func TestStore_LosesAtMostOneUpdateToALostFlush(t *testing.T) {
	all := calls(t)
	for lost := 1; lost <= all; lost++ {
		for cut := lost + 1; cut <= all+1; cut++ {
			a := newArea(uint64(lost*100 + cut))
			a.At(lost, simflash.Lost)
			a.At(cut, simflash.Cut)
			acknowledged, begun := script(a)
			for after := range a.PowerCut(64) {
				loadedUpdate(t, areaOn(after), acknowledged-1, min(begun, acknowledged+1))
			}
		}
	}
}

// TestStore_KeepsTheSettingsOfAKilledProcess: a process that was killed leaves a copy that
// can be read but was not flushed. The next update must not overwrite the only durable
// copy first.
func TestStore_KeepsTheSettingsOfAKilledProcess(t *testing.T) {
	for call := 1; call <= 4; call++ {
		a := newArea(uint64(call))
		if err := set(a, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteAt(encodeSlot(3, []byte(`{"config":"MQ=="}`)), 0); err != nil {
			t.Fatal(err)
		}
		c := a.Counts()
		a.At(c.Writes+c.Flushes+call, simflash.Cut)
		err := set(a, 2)
		for after := range a.PowerCut(64) {
			if got := load(t, areaOn(after)); got != text(2) && (err == nil || got != text(1) && got != "1") {
				t.Fatalf("cut at call %d: got %.40q, want update 1 or 2", call, got)
			}
		}
	}
}

func TestErase_LeavesTheSettingsOrNothingAfterAPowerCut(t *testing.T) {
	for before := range 4 {
		for call := 1; call <= 5; call++ {
			a := newArea(uint64(call))
			for n := 1; n <= before; n++ {
				if err := set(a, n); err != nil {
					t.Fatal(err)
				}
			}
			c := a.Counts()
			a.At(c.Writes+c.Flushes+call, simflash.Cut)
			err := Open(a).Erase(t.Context())
			for after := range a.PowerCut(64) {
				got := load(t, areaOn(after))
				if got != "" && (err == nil || got != text(before)) {
					t.Fatalf("after %d updates, cut at call %d: got %.40q", before, call, got)
				}
				cutAgain(t, after)
			}
		}
	}
}
