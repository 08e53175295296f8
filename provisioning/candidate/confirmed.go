package candidate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/hal/fault"
)

// ConfirmTimeout is the default of [ConfirmedCommitConfig].Timeout.
const ConfirmTimeout = 2 * time.Minute

// Delays between attempts to roll back. Each is twice as long as the previous
// one, up to the maximum.
const (
	firstRollbackDelay = time.Second
	maxRollbackDelay   = time.Minute
)

// ErrNoTrial is returned by a confirmation when no settings are on trial.
var ErrNoTrial = fault.New(fault.NoTrial, "no settings are on trial any more")

// Applier applies the stored settings.
type Applier interface {
	// Reload applies the stored settings. The ConfirmedCommit is locked during
	// the call: Reload may call only its Trial method.
	Reload(ctx context.Context)
}

// Recorder records changes of the settings. It is called while the
// ConfirmedCommit is locked and must not call it.
type Recorder interface {
	// SettingsApplied records that settings are applied; if trial is above zero,
	// they are rolled back after this time unless they are confirmed.
	SettingsApplied(trial time.Duration)
	// SettingsRolledBack records that settings on trial were rolled back.
	SettingsRolledBack()
	// RollbackFailed records why settings on trial could not be rolled back.
	// The attempt is repeated; the same error is recorded once for each trial.
	RollbackFailed(err error)
}

// ConfirmedCommitConfig configures a [ConfirmedCommit].
type ConfirmedCommitConfig struct {
	// Store is the settings area; nil if it cannot be opened.
	Store Store
	// NoStore is the error of every call if Store is nil.
	NoStore error
	// Timeout is how long settings on trial wait for their confirmation.
	// Default: [ConfirmTimeout].
	Timeout  time.Duration
	Applier  Applier
	Recorder Recorder
}

// ConfirmedCommit is the confirmed commit of RFC 6241 section 8.4: it applies
// committed settings, and rolls back those on trial unless they are confirmed in
// time.
//
// The store holds the settings before the trial, and the ConfirmedCommit its
// timer. Other processes commit to the store and then cause a call of Applied. If
// that call never comes, the settings are not applied and there is no timer: the
// end of the next trial, RollBack or Start rolls them back. A power cut stops the
// timer, and Start rolls back.
//
// If a rollback fails, the settings on trial stay active, and it is repeated
// until it succeeds. A store that refuses every write after a failed one, as
// [sealpost/provisioning/state] does, needs a restart of the machine; Start then
// rolls back.
//
// It is safe for concurrent use. Lock order: applying, which is held while
// settings are applied or rolled back, then the locks of the store, Applier and
// Recorder, then mu, under which nothing is called. The field trial is written
// under applying and mu and read under either. Trial locks only mu, so it may be
// called under the locks of an Applier, and by its Reload.
type ConfirmedCommit struct {
	config   ConfirmedCommitConfig
	applying sync.Mutex
	mu       sync.Mutex
	trial    *trial // nil if no timer runs
}

// trial is the timer of settings on trial.
type trial struct {
	text   string // of the settings
	known  bool   // text was read, so there is certainly a trial
	ends   time.Time
	timer  *time.Timer // runs until the next attempt to roll back
	ctx    context.Context
	cancel context.CancelFunc // cancels an attempt that waits for the store

	// The fields below are guarded by applying.
	delay     time.Duration // after the next attempt that fails
	attempted bool          // a rollback returned an error, but may have been written
	recorded  string        // the last error of an attempt that was recorded
}

// NewConfirmedCommit returns a ConfirmedCommit whose timer does not run yet.
func NewConfirmedCommit(config ConfirmedCommitConfig) *ConfirmedCommit {
	if config.Timeout == 0 {
		config.Timeout = ConfirmTimeout
	}
	return &ConfirmedCommit{config: config}
}

// Start rolls back settings that were on trial at a power cut. Call it once,
// before the settings are used; it does not call the Applier. After an error the
// rollback is repeated in the background, and calls the Applier when it succeeds.
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
	err = fmt.Errorf("rolling back settings that were on trial before the restart: %w", err)
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

// Applied applies what another process has just committed. Settings on trial get
// the full timeout, even if others were on trial before; a rollback then restores
// the settings before the first. An error of the store changes nothing.
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

// Confirm confirms the settings on trial, or returns ErrNoTrial. It fails with
// ErrOvertaken if another process has committed other settings, which are not
// applied yet. Other errors are the store's. After an error the trial continues.
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

// RollBack restores and applies the settings before the trial now; without a
// trial, it applies the stored ones. After an error of the store the trial
// continues and rolls back at its end.
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

// Trial reports whether settings are on trial, and the time until they are rolled
// back; zero while a failed rollback is being repeated.
func (c *ConfirmedCommit) Trial() (onTrial bool, remaining time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trial == nil || !c.trial.known {
		return false, 0
	}
	return true, max(0, time.Until(c.trial.ends))
}

// Stop stops the timer: settings on trial stay on trial until the next Applied,
// RollBack or Start. It waits for a running attempt to roll back. The Applier and
// the Recorder must not call it.
func (c *ConfirmedCommit) Stop() {
	c.mu.Lock()
	if c.trial != nil {
		c.trial.timer.Stop()
		c.trial.cancel() // end a running attempt
	}
	c.mu.Unlock()
	c.applying.Lock()
	defer c.applying.Unlock()
	c.end()
}

// begin starts the timer of a trial. The caller holds applying.
func (c *ConfirmedCommit) begin(text string, timeout time.Duration) *trial {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &trial{text: text, known: true, ends: time.Now().Add(timeout), delay: firstRollbackDelay}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if timeout == 0 {
		timeout = t.nextDelay()
	}
	t.timer = time.AfterFunc(timeout, func() { c.expire(t) })
	c.trial = t
	return t
}

// nextDelay returns the delay before the next attempt.
func (t *trial) nextDelay() time.Duration {
	delay := t.delay
	t.delay = min(2*delay, maxRollbackDelay)
	return delay
}

// end stops the timer. The caller holds applying.
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
// while it waited for the lock. Settings that another process committed meanwhile
// get a trial of their own, because Applied is about to be called for them.
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
			// The attempt failed after its write.
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
	if text := err.Error(); text != t.recorded {
		t.recorded = text
		c.config.Recorder.RollbackFailed(fmt.Errorf("rolling back the settings on trial, which will be retried: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.timer.Reset(t.nextDelay())
}

// rolledBack applies the stored settings after a rollback. The caller holds
// applying.
func (c *ConfirmedCommit) rolledBack(ctx context.Context, rolled bool) {
	c.end()
	if rolled {
		c.config.Recorder.SettingsRolledBack()
	}
	c.config.Applier.Reload(context.WithoutCancel(ctx))
}
