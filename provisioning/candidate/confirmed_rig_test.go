package candidate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"sealpost/hal/simflash"
	"sealpost/provisioning/state"
)

// smallArea is a flash for two slots of two sectors beyond their headers, with
// a lock.
type smallArea struct {
	*simflash.Flash
	lock chan struct{}
}

const smallAreaSize = 2 * 4 * simflash.SectorSize

func (a *smallArea) Lock(ctx context.Context) (func() error, error) {
	select {
	case a.lock <- struct{}{}:
		return func() error { <-a.lock; return nil }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// faultyStore is the store of the first process, whose writes can be made to fail.
type faultyStore struct {
	Store
	mu      sync.Mutex
	faults  int
	written bool // the writes that fail take effect nevertheless
}

func (s *faultyStore) inject(faults int, written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.written = faults, written
}

func (s *faultyStore) Update(ctx context.Context, change func(state.Sections) error) error {
	// A rejected change writes nothing, so no fault is used up.
	if sections, err := s.Load(ctx); err == nil {
		if err := change(maps.Clone(sections)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	fails, written := s.faults > 0, s.written
	s.faults = max(0, s.faults-1)
	s.mu.Unlock()
	if !fails {
		return s.Store.Update(ctx, change)
	}
	if written {
		if err := s.Store.Update(ctx, change); err != nil {
			return err
		}
	}
	return errInjected
}

// variant is a box with a deliberate mistake. A nil field has none.
type variant struct {
	start    func(context.Context, *ConfirmedCommit, Store) error
	confirm  func(context.Context, *ConfirmedCommit, Store) error
	store    func(Store) Store      // of every process
	failed   func(*ConfirmedCommit) // called when a rollback failed
	noReload bool                   // after a rollback
}

// rig is a box on a simulated flash, and the model that it is compared with.
type rig struct {
	variant variant
	random  *rand.Rand
	area    *smallArea
	first   *faultyStore // of the first process
	commit  *ConfirmedCommit
	model   model
	latest  *trial // of the first process
	steps   []string
	commits int

	mu         sync.Mutex
	inForce    string
	skipReload bool // a variant's mistake: the next Reload does nothing
}

func newRig(seed uint64, v variant) *rig {
	r := &rig{variant: v, random: rand.New(rand.NewPCG(seed, 0)), model: model{now: time.Now()}}
	r.area = &smallArea{simflash.New(smallAreaSize, seed), make(chan struct{}, 1)}
	r.open()
	return r
}

// open starts the first process on the flash, with empty memory.
func (r *rig) open() {
	r.first = &faultyStore{Store: r.store()}
	r.latest = nil
	r.commit = NewConfirmedCommit(ConfirmedCommitConfig{Store: r.first, Applier: r, Recorder: r})
}

// store returns the store of another process.
func (r *rig) store() Store {
	var s Store = state.Open(r.area)
	if r.variant.store != nil {
		s = r.variant.store(s)
	}
	return s
}

func (r *rig) Reload(ctx context.Context) {
	running, _ := Load(ctx, r.first)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.skipReload {
		r.inForce = running.Settings
	}
	r.skipReload = false
}

func (r *rig) SettingsApplied(time.Duration) {}
func (r *rig) RollbackFailed(error) {
	if r.variant.failed != nil {
		r.variant.failed(r.commit)
	}
}

func (r *rig) SettingsRolledBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipReload = r.variant.noReload
}

// run runs one sequence. The error says where the box and the model differ.
func (r *rig) run(ctx context.Context) error {
	defer func() { r.commit.Stop() }()
	if err := r.start(ctx, r.model.stored); err != nil {
		return err
	}
	for range 4 + r.random.IntN(12) {
		if t := r.commit.current(); t != nil && r.random.IntN(2) == 0 {
			r.latest = t
		}
		if err := r.step(ctx); err != nil {
			return err
		}
		if err := r.check(ctx); err != nil {
			return err
		}
	}
	// After this time nothing is pending: the timeout of one trial, that of another for
	// settings that were committed meanwhile, and the longest rollback delay.
	r.inject(0, false)
	rest := 2*ConfirmTimeout + maxRollbackDelay
	if err := r.do(ctx, operation{"wait to the end", func(context.Context) error {
		time.Sleep(rest)
		synctest.Wait()
		return nil
	}, func(m *model) error { return m.advance(rest) }}); err != nil {
		return err
	}
	if onTrial, _ := r.commit.Trial(); onTrial {
		return errors.New("a trial lasts longer than its timeout")
	}
	return r.check(ctx)
}

// step does one random operation, sometimes with a fault.
func (r *rig) step(ctx context.Context) error {
	switch n := r.random.IntN(16); {
	case n < 12:
		o := r.randomOperation()
		if err := r.do(ctx, o); err != nil {
			return err
		}
		committed := strings.Contains(o.name, " ") && !strings.HasPrefix(o.name, "wait") && !strings.HasPrefix(o.name, "roll")
		if committed && r.random.IntN(4) > 0 {
			return r.do(ctx, r.appliedOp())
		}
		return nil
	case n < 13:
		r.inject(1+r.random.IntN(8), r.random.IntN(2) == 0)
		return nil
	case n < 14:
		return r.cutPower(ctx, r.model.stored)
	case n < 15:
		return r.cutDuringOperation(ctx)
	default:
		return r.failWrite(ctx)
	}
}

// do applies an operation to the box and to the model, and compares the errors.
func (r *rig) do(ctx context.Context, o operation) error {
	r.steps = append(r.steps, o.name)
	err, want := o.real(ctx), o.model(&r.model)
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: got %v, want %v", o.name, err, want)
	}
	return nil
}

func (r *rig) inject(faults int, written bool) {
	r.steps = append(r.steps, fmt.Sprintf("%d faults, written %t", faults, written))
	r.first.inject(faults, written)
	r.model.faults, r.model.written = faults, written
}

// nextCall sets the outcome of one of the next writes and flushes of the flash.
func (r *rig) nextCall(outcome simflash.Outcome) {
	counts := r.area.Counts()
	r.area.At(counts.Writes+counts.Flushes+1+r.random.IntN(4), outcome)
}

// cutDuringOperation cuts the power during a random operation.
func (r *rig) cutDuringOperation(ctx context.Context) error {
	r.nextCall(simflash.Cut)
	o := r.randomOperation()
	r.steps = append(r.steps, "torn "+o.name)
	old := r.model.stored
	err := o.real(ctx)
	if o.model(&r.model) == nil && err == nil && !strings.HasPrefix(o.name, "wait") {
		return r.cutPower(ctx, r.model.stored) // an acknowledged change is durable
	}
	return r.cutPower(ctx, old, r.model.stored)
}

// failWrite makes a write of the first process fail. Its store then rejects all other
// writes until the power is cut.
func (r *rig) failWrite(ctx context.Context) error {
	r.inject(0, false)
	r.nextCall(simflash.Failed)
	r.steps = append(r.steps, "broken roll back")
	old, trial := r.model.stored, r.model.trial
	err := r.commit.RollBack(ctx)
	undone := old
	undone.undo()
	if err == nil {
		return errors.Join(r.model.rollBack(), r.cutPower(ctx, undone))
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	r.model.now = r.model.now.Add(time.Hour)
	if after, remaining := r.commit.Trial(); remaining > ConfirmTimeout || trial && !after && r.activeText() != undone.text {
		return fmt.Errorf("on a broken flash: on trial %t, %s left, in force %q", after, remaining, r.activeText())
	}
	return r.cutPower(ctx, old, undone)
}

// cutPower cuts the power and boots, sometimes with another cut during the boot. The
// flash must then hold one of the possible states.
func (r *rig) cutPower(ctx context.Context, possible ...stored) error {
	r.powerOff()
	if r.random.IntN(4) == 0 {
		r.steps = append(r.steps, "torn start")
		r.nextCall(simflash.Cut)
		_ = r.commit.Start(ctx)
		for _, p := range possible {
			p.undo()
			possible = append(possible, p)
		}
		r.powerOff()
	}
	return r.start(ctx, possible...)
}

// powerOff cuts the power without a new boot.
func (r *rig) powerOff() {
	r.steps = append(r.steps, "power cut")
	r.commit.Stop() // the end of its process
	chosen := 1 + r.random.IntN(8)
	for after := range r.area.PowerCut(8) {
		r.area = &smallArea{after, make(chan struct{}, 1)}
		if chosen--; chosen == 0 {
			break
		}
	}
	r.open()
}

// start boots the box on a flash that must hold one of the possible states.
func (r *rig) start(ctx context.Context, possible ...stored) error {
	found, err := r.stored(ctx)
	if err != nil {
		return err
	}
	r.model.stored = found
	expected := false
	for _, p := range possible {
		expected = expected || p == found
	}
	if !expected {
		return fmt.Errorf("got stored %+v, want one of %+v", found, possible)
	}
	r.model.faults = 0
	if r.random.IntN(4) == 0 {
		r.inject(1+r.random.IntN(3), r.random.IntN(2) == 0)
	}
	err = r.do(ctx, operation{"start", func(ctx context.Context) error {
		if r.variant.start != nil {
			return r.variant.start(ctx, r.commit, r.first)
		}
		return r.commit.Start(ctx)
	}, (*model).start})
	r.Reload(ctx) // components read the settings when they start
	return err
}

// stored reads the state on the flash, as another process does.
func (r *rig) stored(ctx context.Context) (stored, error) {
	sections, err := state.Open(r.area).Load(ctx)
	_, trial := sections[sectionTrial]
	found := stored{string(sections[sectionSettings]), string(sections[sectionTrial]), trial}
	for text, section := range map[string]string{found.text: sectionSchema, found.before: sectionTrialSchema} {
		if !bytes.Equal(sections[section], schemaOf(text)) && found.text != found.before {
			err = fmt.Errorf("%q has %q in %q", text, sections[section], section)
		}
	}
	return found, err
}

func (r *rig) activeText() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inForce
}

// check compares the box with the model.
func (r *rig) check(ctx context.Context) error {
	m := &r.model
	got, err := r.stored(ctx)
	if err != nil {
		return err
	}
	if got != m.stored {
		return fmt.Errorf("got stored %+v, want %+v", got, m.stored)
	}
	if got := r.activeText(); got != m.inForce {
		return fmt.Errorf("got settings %q in force, want %q", got, m.inForce)
	}
	var want time.Duration
	if m.trial {
		want = max(0, m.ends.Sub(m.now))
	}
	if trial, remaining := r.commit.Trial(); trial != m.trial || remaining != want {
		return fmt.Errorf("got trial %t with %s left, want %t with %s", trial, remaining, m.trial, want)
	}
	return nil
}
