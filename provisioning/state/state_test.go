package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal/simflash"
)

// area is a simulated flash with a lock.
type area struct {
	*simflash.Flash
	lock chan struct{}
}

const testSlot = 2048

func areaOn(flash *simflash.Flash) *area { return &area{flash, make(chan struct{}, 1)} }

func newArea(seed uint64) *area { return areaOn(simflash.New(2*testSlot, seed)) }

func (a *area) Lock(ctx context.Context) (func() error, error) {
	select {
	case a.lock <- struct{}{}:
		return func() error { <-a.lock; return nil }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// text returns the content after the n-th update: long enough for several sectors, and
// different from those before and after it.
func text(n int) string {
	if n == 0 {
		return ""
	}
	return strings.Repeat(fmt.Sprintf("<%d>", n*7919), 60+20*(n%3))
}

func set(a Area, n int) error { return setIn(Open(a), n) }

func setIn(s *Store, n int) error {
	return s.Update(context.Background(), func(sections Sections) error {
		sections["config"] = []byte(text(n))
		return nil
	})
}

func load(t *testing.T, a Area) string {
	t.Helper()
	sections, err := Open(a).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(sections["config"])
}

func TestLoad_ReturnsWhatWasStored(t *testing.T) {
	a := newArea(1)
	if sections, err := Open(a).Load(t.Context()); err != nil || sections == nil || len(sections) != 0 {
		t.Errorf("factory state: got %v, %v, want no sections", sections, err)
	}
	for n := 1; n < 6; n++ {
		if err := set(a, n); err != nil {
			t.Fatal(err)
		}
		if got := load(t, a); got != text(n) {
			t.Errorf("update %d: got %q, want %q", n, got, text(n))
		}
	}
	err := Open(a).Update(t.Context(), func(s Sections) error {
		s["key"], s["none"] = []byte{0, 255}, nil
		delete(s, "config")
		return nil
	})
	got, _ := Open(a).Load(t.Context())
	if err != nil || len(got) != 2 || !bytes.Equal(got["key"], []byte{0, 255}) || len(got["none"]) != 0 {
		t.Errorf("got sections %v, %v, want key and an empty none", got, err)
	}
}

func TestStore_UsesTwoSlotsOfOneMebibyteByDefault(t *testing.T) {
	a := areaOn(simflash.New(AreaSize, 1))
	if err := set(a, 1); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, SlotSize} {
		header := make([]byte, 8)
		if _, err := a.ReadAt(header, off); err != nil || string(header) != "SEALPOST" {
			t.Errorf("slot at %d: got %q, %v, want SEALPOST", off, header, err)
		}
	}
}

func TestUpdate_WritesNothingWhenTheChangeIsRefused(t *testing.T) {
	a := newArea(1)
	if err := set(a, 1); err != nil {
		t.Fatal(err)
	}
	before := a.Counts()
	refused := errors.New("no")
	err := Open(a).Update(t.Context(), func(s Sections) error {
		s["config"] = nil
		return refused
	})
	if err != refused || a.Counts() != before || load(t, a) != text(1) {
		t.Errorf("got %v, calls %+v, settings %q, want %v, %+v, %q", err, a.Counts(), load(t, a), refused, before, text(1))
	}
}

func TestUpdate_WritesNothingWithoutAChange(t *testing.T) {
	a := newArea(1)
	if err := errors.Join(set(a, 1), set(a, 2)); err != nil {
		t.Fatal(err)
	}
	before := a.Counts().Writes
	if err := set(a, 2); err != nil || a.Counts().Writes != before {
		t.Errorf("got %v and %d writes, want none", err, a.Counts().Writes-before)
	}
}

func TestUpdate_RefusesOversizedSettings(t *testing.T) {
	a := newArea(1)
	if err := set(a, 1); err != nil {
		t.Fatal(err)
	}
	err := Open(a).Update(t.Context(), func(s Sections) error {
		s["big"] = make([]byte, testSlot)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "1536 fit") || load(t, a) != text(1) {
		t.Errorf("got %v and settings %q, want an error and %q", err, load(t, a), text(1))
	}
	if err := set(a, 2); err != nil {
		t.Errorf("updating after the refused one: %v", err)
	}
	if _, err := Open(areaOn(simflash.New(1024, 1))).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("tiny area: got %v, want an error with %q", err, "too small")
	}
}

func TestUpdate_KeepsConcurrentUpdates(t *testing.T) {
	a := newArea(1)
	first, second := Open(a), Open(a)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			store := first
			if i%2 == 0 {
				store = second
			}
			err := store.Update(t.Context(), func(s Sections) error {
				n, _ := strconv.Atoi(string(s["count"]))
				s["count"] = []byte(strconv.Itoa(n + 1))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := first.Load(t.Context()); err != nil || string(got["count"]) != "40" {
		t.Errorf("got count %s, %v, want 40", got["count"], err)
	}
}

func TestStore_FailsWithoutTheLock(t *testing.T) {
	a := newArea(1)
	a.lock <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(a).Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("load: got %v, want %v", err, context.Canceled)
	}
	err := Open(a).Update(ctx, func(Sections) error { t.Error("changed without the lock"); return nil })
	if !errors.Is(err, context.Canceled) || a.Counts() != (simflash.Counts{}) {
		t.Errorf("update: got %v and calls %+v, want %v and none", err, a.Counts(), context.Canceled)
	}
}

func TestStore_TimesOutWaitingForTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArea(1)
		a.lock <- struct{}{}
		begun := time.Now()
		_, err := Open(a).Load(t.Context())
		if !errors.Is(err, errStuck) || !strings.Contains(err.Error(), "switch the box off and on") {
			t.Errorf("load: got %v, want %v", err, errStuck)
		}
		if waited := time.Since(begun); waited != lockTimeout {
			t.Errorf("waited %s, want %s", waited, lockTimeout)
		}
	})
}

func TestStore_LosesAtMostTheLastChangeToAFlippedBit(t *testing.T) {
	for _, updates := range []int{1, 4} {
		t.Run(fmt.Sprintf("after %d updates", updates), func(t *testing.T) {
			t.Parallel()
			a := newArea(1)
			for n := 1; n <= updates; n++ {
				if err := set(a, n); err != nil {
					t.Fatal(err)
				}
			}
			slots, err := readSlots(a)
			if err != nil {
				t.Fatal(err)
			}
			store := Open(a)
			for bit := int64(0); bit < 2*testSlot*8; bit++ {
				// Bits that are never read need not all be tried.
				at, used := bit/8%testSlot, int64(headerSize+len(slots[bit/8/testSlot].payload))
				if (at >= 64 && at < headerSize || at >= used) && bit%97 != 0 {
					continue
				}
				a.FlipBit(bit)
				sections, err := store.Load(t.Context())
				if got := string(sections["config"]); err != nil || got != text(updates) && got != text(max(1, updates-1)) {
					t.Fatalf("bit %d: got %.20q, %v, want one of the last two updates", bit, got, err)
				}
				a.FlipBit(bit)
			}
		})
	}
}

func TestStore_ReportsDamageOfBothCopiesUntilErased(t *testing.T) {
	a := newArea(1)
	if err := errors.Join(set(a, 1), set(a, 2)); err != nil {
		t.Fatal(err)
	}
	a.FlipBit(headerSize * 8)
	a.FlipBit((testSlot + headerSize) * 8)
	if _, err := Open(a).Load(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("load: got %v, want %v", err, ErrDamaged)
	}
	if err := set(a, 3); !errors.Is(err, ErrDamaged) {
		t.Errorf("update: got %v, want %v", err, ErrDamaged)
	}
	if err := Open(a).Erase(t.Context()); err != nil || load(t, a) != "" {
		t.Errorf("erase: got %q, %v, want an empty state", load(t, a), err)
	}
	if err := set(a, 3); err != nil || load(t, a) != text(3) {
		t.Errorf("after erasing: got %q, %v, want %q", load(t, a), err, text(3))
	}
}

func TestStore_DoesNotTakeAnUnreadableSlotForAnEmptyOne(t *testing.T) {
	a := newArea(1)
	if err := errors.Join(set(a, 1), set(a, 2)); err != nil {
		t.Fatal(err)
	}
	a.FailReads(0, 1)
	if got := load(t, a); got != text(2) && got != text(1) {
		t.Errorf("one bad slot: got %q, want %q or %q", got, text(2), text(1))
	}
	a.FailReads(testSlot, 1)
	if _, err := Open(a).Load(t.Context()); !errors.Is(err, ErrDamaged) || !errors.Is(err, simflash.ErrIO) {
		t.Errorf("two bad slots: got %v, want %v and %v", err, ErrDamaged, simflash.ErrIO)
	}
	oneUnreadable := newArea(1)
	oneUnreadable.FailReads(0, 1)
	if _, err := Open(oneUnreadable).Load(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("one bad slot, one blank: got %v, want %v", err, ErrDamaged)
	}
}

func TestStore_LeavesSettingsOfANewerVersionAlone(t *testing.T) {
	a := newArea(1)
	if err := errors.Join(set(a, 1), set(a, 2)); err != nil {
		t.Fatal(err)
	}
	image := encodeSlot(9, []byte("{}"))
	image[8] = formatVersion + 1
	sum := checksum(image, image[headerSize:])
	copy(image[checksumAt:], sum[:])
	if _, err := a.WriteAt(image, testSlot); err != nil {
		t.Fatal(err)
	}
	before := a.Counts()
	if _, err := Open(a).Load(t.Context()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "written by a newer Sealpost") {
		t.Errorf("load: got %v, want %v", err, ErrNewer)
	}
	if err := set(a, 3); !errors.Is(err, ErrNewer) || a.Counts() != before {
		t.Errorf("update: got %v and calls %+v, want %v and %+v", err, a.Counts(), ErrNewer, before)
	}
	// A damaged version number is damage of its slot only.
	a.FlipBit((testSlot+8)*8 + 7)
	if got := load(t, a); got != text(2) && got != text(1) {
		t.Errorf("damaged version number: got %.20q, want one of the last two updates", got)
	}
}

func TestErase_LeavesNoDataBehind(t *testing.T) {
	a := newArea(1)
	if err := errors.Join(set(a, 1), set(a, 2), Open(a).Erase(t.Context())); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, a.Size())
	if _, err := a.ReadAt(content, 0); err != nil || !bytes.Equal(content, make([]byte, a.Size())) {
		t.Errorf("got %v or content that is not zero", err)
	}
}

func TestSections_PrintWithoutContent(t *testing.T) {
	s := Sections{"secret": []byte("hunter2"), "config": nil}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("loaded", "sections", s)
	for _, printed := range []string{fmt.Sprintf("%v %+v %s %#v", s, s, s, s), log.String()} {
		if strings.Contains(printed, "hunter2") || strings.Contains(printed, "aHVudGVyMg") || strings.Contains(printed, "104 117") {
			t.Errorf("got printed %s, want it without the secret", printed)
		}
		if !strings.Contains(printed, "7 bytes") {
			t.Errorf("got printed %s, want the size in it", printed)
		}
	}
}

func FuzzSlots(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 2*testSlot))
	f.Add(encodeSlot(1, []byte(`{"config":"AAEC"}`)))
	f.Add(append(make([]byte, testSlot), encodeSlot(3, []byte(`null`))...))
	f.Fuzz(func(t *testing.T, content []byte) {
		a := newArea(1)
		if _, err := a.WriteAt(content[:min(len(content), 2*testSlot)], 0); err != nil {
			t.Fatal(err)
		}
		sections, err := Open(a).Load(t.Context())
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if updated := set(a, 1); updated != nil {
			t.Fatalf("updating loaded sections %v: %v", sections, updated)
		}
		if got := load(t, a); got != text(1) {
			t.Fatalf("got %q, want %q", got, text(1))
		}
	})
}

func TestVersion_ChangesWithEachUpdate(t *testing.T) {
	store := Open(newArea(1))
	seen := make(map[string]int)
	for i := range 5 {
		version, err := store.Version()
		if err != nil {
			t.Fatal(err)
		}
		if before, found := seen[version]; found {
			t.Errorf("update %d has the version of %d", i, before)
		}
		seen[version] = i
		err = store.Update(t.Context(), func(sections Sections) error {
			sections["a"] = []byte{byte(i % 2)}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
