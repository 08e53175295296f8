package candidate

import (
	"context"
	"errors"
	"testing"

	"sealpost/hal/simflash"
	"sealpost/provisioning/state"
)

// area is a settings area that one process uses.
type area struct{ *simflash.Flash }

func (area) Lock(context.Context) (func() error, error) {
	return func() error { return nil }, nil
}

// locked returns a settings area with the PIN 4711 and a count of wrong ones.
func locked(t *testing.T, wrong string) area {
	t.Helper()
	a, number := area{simflash.New(state.AreaSize, 1)}, "4711"
	commit(t, state.Open(a), Candidate{Settings: before, PIN: &number})
	err := state.Open(a).Update(t.Context(), func(sections state.Sections) error {
		if wrong != "" {
			sections[sectionWrongPINs] = []byte(wrong)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestUnlock_CountsWrongPINsOverPowerCuts(t *testing.T) {
	a := locked(t, "")
	for i, c := range []struct {
		digits string
		right  bool
		wrong  int
	}{{"0000", false, 1}, {"1111", false, 2}, {"", false, 2}, {"2222", false, 3}, {"4711", true, 0}, {"3333", false, 1}} {
		right, wrong, err := Unlock(t.Context(), state.Open(a), c.digits)
		if err != nil || right != c.right || wrong != c.wrong {
			t.Errorf("%d, %q: got %v, %d wrong, %v, want %v, %d wrong", i, c.digits, right, wrong, err, c.right, c.wrong)
		}
		const cuts = 4
		for after := range a.PowerCut(cuts) {
			if r, err := Load(t.Context(), state.Open(area{after})); err != nil || r.WrongPINs != c.wrong {
				t.Errorf("%d, %q: got %d stored wrong PINs, %v, want %d", i, c.digits, r.WrongPINs, err, c.wrong)
			}
			a = area{after}
		}
	}
}

// cutter is a store whose power is cut right after its first write.
type cutter struct {
	Store
	cut func()
}

func (c cutter) Update(ctx context.Context, change func(state.Sections) error) error {
	defer c.cut()
	return c.Store.Update(ctx, change)
}

func TestUnlock_CountsBeforeItCompares(t *testing.T) {
	for _, digits := range []string{"0000", "4711"} {
		a := locked(t, "")
		ctx, cut := context.WithCancel(t.Context())
		if right, _, err := Unlock(ctx, cutter{state.Open(a), cut}, digits); right || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, %v, want false, context.Canceled", digits, right, err)
		}
		if r, err := Load(t.Context(), state.Open(a)); err != nil || r.WrongPINs != 1 {
			t.Errorf("%s: got %d stored wrong PINs, %v, want 1", digits, r.WrongPINs, err)
		}
	}
}

func TestUnlock_WritesABoundedNumberOfTimes(t *testing.T) {
	const counted, attempts, most = "97", 4, maxWrongPINs - 97
	a := locked(t, counted)
	begun := a.Counts()
	for range attempts {
		if right, _, err := Unlock(t.Context(), state.Open(a), "0000"); right || err != nil {
			t.Fatalf("got %v, %v", right, err)
		}
	}
	const writesOfOneUpdate, sectionsSize = 2, 4 << 10
	got := a.Counts()
	if writes := got.Writes - begun.Writes; writes < 1 || writes > most*writesOfOneUpdate || got.Bytes-begun.Bytes > most*sectionsSize {
		t.Errorf("%d wrong PINs from %s: got %d writes of %d bytes, want at most %d of %d", attempts, counted, writes, got.Bytes-begun.Bytes, most*writesOfOneUpdate, most*sectionsSize)
	}
}

func TestUnlock_OpensOnFlashThatCannotBeWritten(t *testing.T) {
	m, number := &memory{}, "4711"
	commit(t, m, Candidate{Settings: before, PIN: &number})
	m.fail(errors.New("flash worn out"))
	if right, wrong, err := Unlock(t.Context(), m, "0000"); right || wrong != 1 || err != nil {
		t.Errorf("the wrong PIN: got %v, %d, %v", right, wrong, err)
	}
	if right, _, err := Unlock(t.Context(), m, "4711"); !right || err != nil {
		t.Errorf("the right PIN: got %v, %v", right, err)
	}
}

func TestCommit_ForgetsWrongPINsWithANewPIN(t *testing.T) {
	a, number := locked(t, "42"), "0815"
	commit(t, state.Open(a), Candidate{PIN: &number})
	if r, err := Load(t.Context(), state.Open(a)); err != nil || r.WrongPINs != 0 || !r.Locked {
		t.Errorf("got %+v, %v", r, err)
	}
}
