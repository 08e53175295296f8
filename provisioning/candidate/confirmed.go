package candidate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/hal/fault"
)

// ConfirmTimeout is how long settings on trial wait for their confirmation
// where [ConfirmedCommitConfig] says nothing else.
const ConfirmTimeout = 2 * time.Minute

// Pauses between the attempts to roll back settings on trial. Each is twice as
// long as the one before, up to the longest.
const (
	firstRollbackPause   = time.Second
	longestRollbackPause = time.Minute
)

// ErrNoTrial is returned by a confirmation that came too late.
var ErrNoTrial = fault.New(fault.NoTrial, "nothing is on trial any more")

// Applier applies the stored settings.
type Applier interface {
	// Reload puts the settings that are stored now into force. The
	// ConfirmedCommit is locked during the call: Reload must not call it, except for
	// its Trial.
	Reload(ctx context.Context)
}

// Recorder hears what becomes of settings. It is called while the
// ConfirmedCommit is locked and must not call it.
type Recorder interface {
	// SettingsApplied records settings that come into force; where trial is
	// above zero they are rolled back after it unless they are confirmed.
	SettingsApplied(trial time.Duration)
	// SettingsRolledBack records that settings on trial are out of force.
	SettingsRolledBack()
	// RollbackFailed records why settings on trial could not be rolled back.
	// The attempt is repeated; the same error is recorded once for each trial.
	RollbackFailed(err error)
}

// ConfirmedCommitConfig is what a [ConfirmedCommit] works with.
type ConfirmedCommitConfig struct {
	// Store is the settings area; nil where it cannot be opened.
	Store Store
	// NoStore is the error of every call where Store is nil.
	NoStore error
	// Timeout is how long settings on trial wait for their confirmation.
	// Default: [ConfirmTimeout].
	Timeout  time.Duration
	Applier  Applier
	Recorder Recorder
}

// ConfirmedCommit is the confirmed commit of RFC 6241 section 8.4: it puts
// committed settings into force, and those on trial out of force again unless
// somebody confirms them in time.
//
// The store keeps what a trial goes back to, and the ConfirmedCommit the
// trial's time. Other processes commit to the store and then have Applied
// called. A trial whose Applied never comes is not in force and has no time:
// the next trial's end, RollBack or Start ends it. At a power cut the time is
// lost, and Start rolls back.
//
// A rollback that fails leaves the settings on trial in force, so it is
// repeated until it succeeds. A store that refuses every write after one that
// failed, as [sealpost/provisioning/state] does, needs a restart of the
// machine; its Start then rolls back.
//
// It is safe for concurrent use. Lock order: applying, which is held while
// settings come into force or go back, then the store's own lock or those of
// Applier and Recorder, then mu, under which nothing is called. The field trial
// is written under both and read under either. Trial takes mu alone, so it may
// be called under the locks of an Applier, and by its Reload.
type ConfirmedCommit struct {
	config   ConfirmedCommitConfig
	applying sync.Mutex
	mu       sync.Mutex
	trial    *trial // nil where no time runs
}

// trial is one run of the clock for settings on trial.
type trial struct {
	text   string // of the settings
	known  bool   // text was read: it is certain that there is a trial
	ends   time.Time
	timer  *time.Timer // runs until the next attempt to roll back
	ctx    context.Context
	cancel context.CancelFunc // calls off an attempt that waits for the store

	// The fields below are guarded by applying.
	pause     time.Duration // after the next attempt that fails
	attempted bool          // a rollback ended in an error, and may be written all the same
	recorded  string        // the last error of an attempt that was recorded
}

// NewConfirmedCommit returns a ConfirmedCommit whose timer does not run yet.
func NewConfirmedCommit(config ConfirmedCommitConfig) *ConfirmedCommit {
	if config.Timeout == 0 {
		config.Timeout = ConfirmTimeout
	}
	return &ConfirmedCommit{config: config}
}

// Start rolls back settings that a power cut found on trial. It is called once,
// before anybody goes by the settings, and does not call the Applier. With an
// error the rollback is repeated in the background, and the Applier is called
// once it has succeeded.
func (c *ConfirmedCommit) Start(ctx context.Context) error {
	if c.config.Store == nil {
		return c.config.NoStore
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	rolled, err := rollBack(ctx, c.config.Store)
	if err == nil {
		if rolled {
			c.config.Recorder.SettingsRolledBack()
		}
		return nil
	}
	err = fmt.Errorf("rolling back what the last start left on trial: %w", err)
	running, unreadable := Load(ctx, c.config.Store)
	if errors.Is(unreadable, ErrFactory) || unreadable == nil && !running.Trial {
		return err // nothing is on trial
	}
	t := c.begin(running.Settings, 0)
	t.attempted, t.recorded = true, err.Error()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.known = unreadable == nil
	return err
}

// Applied takes over what another process has just committed. Settings on trial
// get the whole timeout, also where others were on trial before: then the
// settings before the first come back. An error, which is the store's, leaves
// everything as it was.
func (c *ConfirmedCommit) Applied(ctx context.Context) error {
	if c.config.Store == nil {
		return c.config.NoStore
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	running, err := Load(ctx, c.config.Store)
	if err != nil && !errors.Is(err, ErrFactory) {
		return err
	}
	c.end()
	var timeout time.Duration
	if running.Trial {
		timeout = c.config.Timeout
		c.begin(running.Settings, timeout)
	}
	c.config.Recorder.SettingsApplied(timeout)
	c.config.Applier.Reload(context.WithoutCancel(ctx))
	return nil
}

// Confirm makes the settings on trial stay, or returns ErrNoTrial. It fails with
// ErrOvertaken where another process has committed other settings, which nobody
// has seen in force yet. Any other error is the store's. With both the trial
// goes on, and its settings are rolled back in time.
func (c *ConfirmedCommit) Confirm(ctx context.Context) error {
	if c.config.Store == nil {
		return c.config.NoStore
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	c.mu.Lock()
	t := c.trial
	c.mu.Unlock()
	if t == nil || !t.known {
		return ErrNoTrial
	}
	if err := confirm(ctx, c.config.Store, t.text); err != nil {
		return fmt.Errorf("confirming the settings on trial: %w", err)
	}
	c.end()
	return nil
}

// RollBack puts the settings before the trial into force now; without a trial,
// those that are stored. With an error, which is the store's, the trial goes on
// and its end tries again.
func (c *ConfirmedCommit) RollBack(ctx context.Context) error {
	if c.config.Store == nil {
		return c.config.NoStore
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	rolled, err := rollBack(ctx, c.config.Store)
	if err != nil {
		if c.trial != nil {
			c.trial.attempted = true
		}
		return fmt.Errorf("rolling back the settings on trial: %w", err)
	}
	c.rolledBack(ctx, rolled)
	return nil
}

// Trial reports whether settings are on trial, and after how long they are rolled
// back; zero where a rollback that failed is being repeated.
func (c *ConfirmedCommit) Trial() (onTrial bool, remaining time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trial == nil || !c.trial.known {
		return false, 0
	}
	return true, max(0, time.Until(c.trial.ends))
}

// Stop stops the clock: settings on trial stay on trial until the next Applied,
// RollBack or Start. It returns when no attempt to roll back runs any more. It
// must not be called by the Applier or the Recorder.
func (c *ConfirmedCommit) Stop() {
	c.mu.Lock()
	if c.trial != nil {
		c.trial.timer.Stop()
		c.trial.cancel() // so that an attempt under way ends soon
	}
	c.mu.Unlock()
	c.applying.Lock()
	defer c.applying.Unlock()
	c.end()
}

// begin starts the clock for settings on trial. The caller holds applying.
func (c *ConfirmedCommit) begin(text string, timeout time.Duration) *trial {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &trial{text: text, known: true, ends: time.Now().Add(timeout), pause: firstRollbackPause}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if timeout == 0 {
		timeout = t.nextPause()
	}
	t.timer = time.AfterFunc(timeout, func() { c.expire(t) })
	c.trial = t
	return t
}

// nextPause is how long the next attempt waits.
func (t *trial) nextPause() time.Duration {
	pause := t.pause
	t.pause = min(2*pause, longestRollbackPause)
	return pause
}

// end stops the clock. The caller holds applying.
func (c *ConfirmedCommit) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trial == nil {
		return
	}
	c.trial.timer.Stop()
	c.trial.cancel()
	c.trial = nil
}

// expire rolls back settings that were not confirmed, unless their trial ended
// while this waited for its turn. Settings that another process committed
// meanwhile get a trial of their own: that process is about to have Applied
// called.
func (c *ConfirmedCommit) expire(t *trial) {
	c.applying.Lock()
	defer c.applying.Unlock()
	c.mu.Lock()
	over := c.trial == t
	c.mu.Unlock()
	if !over {
		return
	}
	running, err := Load(t.ctx, c.config.Store)
	if err == nil && t.known && running.Settings != t.text {
		if t.attempted && !running.Trial {
			// The error of an attempt came after its write.
			c.rolledBack(t.ctx, true)
			return
		}
		c.begin(running.Settings, c.config.Timeout)
		return
	}
	rolled, err := rollBack(t.ctx, c.config.Store)
	if err == nil {
		c.rolledBack(t.ctx, rolled)
		return
	}
	if t.ctx.Err() != nil {
		return // Stop waits for this to end
	}
	t.attempted = true
	if words := err.Error(); words != t.recorded {
		t.recorded = words
		c.config.Recorder.RollbackFailed(fmt.Errorf("rolling back the settings on trial, which is tried again: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.timer.Reset(t.nextPause())
}

// rolledBack puts into force what is stored after a rollback. The caller holds
// applying.
func (c *ConfirmedCommit) rolledBack(ctx context.Context, rolled bool) {
	c.end()
	if rolled {
		c.config.Recorder.SettingsRolledBack()
	}
	c.config.Applier.Reload(context.WithoutCancel(ctx))
}
