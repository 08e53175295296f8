package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/network"
	"sealpost/hal/linux/process"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// sectionClock holds the last time that was known, in the settings area.
const sectionClock = "clock"

// errNoState is what everything that needs the state ends in where it cannot be
// opened.
var errNoState = errors.New("the storage of this box cannot be used: switch it off and on; if it stays so, replace the storage")

// reload puts the stored settings into force: the network first, then a new
// relay that reads them too.
func (m *machine) reload(ctx context.Context) {
	stored := m.adopt(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.unreadable && m.serving != nil:
		// The relay that has read them before does better than none.
	case stored == nil && m.serving != nil:
		m.serving()
		m.serving = nil
	case stored != nil && m.serving == nil:
		m.serve(ctx)
	case stored != nil:
		m.relay.Restart()
	}
}

// adopt reads the settings that are stored now and has the machine go by them;
// nil in the factory state, and where this version cannot use them: then only
// their network is in force. Where they cannot be read those before stay.
func (m *machine) adopt(ctx context.Context) *settings.Settings {
	stored, err := m.stored(ctx)
	unreadable := err != nil && !errors.Is(err, candidate.ErrFactory)
	if unreadable {
		m.try("settings", err)
	}
	for _, ignored := range stored.Ignored {
		m.try("settings", ignored)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unreadable = unreadable; unreadable && m.settings != nil {
		return m.settings
	}
	if m.settings = nil; err == nil {
		m.settings = &stored.Settings
	}
	m.hostname = string(stored.Network.Name)
	m.network.Apply(networkOf(stored.Settings))
	m.try("host name", kernel.SetHostname(m.hostname))
	return m.settings
}

// serve runs the relay. The caller holds mu.
func (m *machine) serve(ctx context.Context) {
	serving, stop := context.WithCancel(ctx)
	m.serving = stop
	go m.relay.Run(serving)
}

// stored reads the settings that the box is to go by. Beside an error come those
// of an empty file, or what of the stored ones could be read.
func (m *machine) stored(ctx context.Context) (settings.Stored, error) {
	nothing := settings.Stored{Settings: settings.Default()}
	if m.store == nil {
		return nothing, errNoState
	}
	stored, err := candidate.LoadSettings(ctx, m.store)
	var unusable *settings.StoredError
	if err != nil && !errors.As(err, &unusable) {
		return nothing, err
	}
	return stored, err
}

// orDefault are the settings in force; those of an empty file in the factory
// state.
func orDefault(s *settings.Settings) settings.Settings {
	if s == nil {
		return settings.Default()
	}
	return *s
}

func networkOf(s settings.Settings) network.Config {
	c := network.Config{Address: s.Network.Address.Prefix, Gateway: s.Network.Gateway, DNS: s.Network.DNS, Hostname: string(s.Network.Name)}
	for _, server := range s.Network.NTP {
		c.NTP = append(c.NTP, string(server))
	}
	return c
}

// newConfirmedCommit gives the confirmed commit for the settings area, if that
// could be opened.
func (m *machine) newConfirmedCommit() *candidate.ConfirmedCommit {
	config := candidate.ConfirmedCommitConfig{NoStore: errNoState, Applier: settingsApplier{m}, Recorder: settingsRecorder{m}}
	if m.store != nil {
		config.Store = m.store
	}
	return candidate.NewConfirmedCommit(config)
}

// settingsApplier has the machine go by the stored settings.
type settingsApplier struct{ m *machine }

func (a settingsApplier) Reload(ctx context.Context) { a.m.reload(ctx) }

// settingsRecorder writes what becomes of settings into the journal.
type settingsRecorder struct{ m *machine }

func (r settingsRecorder) SettingsApplied(trial time.Duration) { r.m.journal.SettingsApplied(trial) }
func (r settingsRecorder) SettingsRolledBack()                 { r.m.journal.SettingsRolledBack() }
func (r settingsRecorder) RollbackFailed(err error)            { r.m.try("settings", err) }

// lastLine is the last thing that a process said, or how it ended.
func lastLine(e process.End) string {
	lines := strings.Split(strings.TrimSpace(e.Last), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return e.Words
}

// past is the latest time that is known to be over.
func (m *machine) past(ctx context.Context) time.Time {
	known := built()
	if m.store == nil {
		return known
	}
	sections, err := m.store.Load(ctx)
	if err != nil {
		return known
	}
	if noted, err := time.Parse(time.RFC3339, string(sections[sectionClock])); err == nil && noted.After(known) {
		return noted
	}
	return known
}

// notePast stores a time for the next start.
func (m *machine) notePast(t time.Time) {
	if m.store == nil {
		return
	}
	m.try("clock", m.store.Update(context.Background(), func(sections state.Sections) error {
		sections[sectionClock] = []byte(t.UTC().Format(time.RFC3339))
		return nil
	}))
}

// setClock takes the time from a person.
func (m *machine) setClock(t time.Time) error {
	if err := clock.Plausible(m.past(context.Background()), t); err != nil {
		return err
	}
	step := time.Until(t)
	if err := errors.Join(clock.Set(t), clock.Trust()); err != nil {
		return err
	}
	m.setDoubt("")
	m.journal.ClockStepped(step, "the console")
	m.notePast(t)
	return nil
}

func (m *machine) setDoubt(words string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doubt = words
}

// restart restarts the whole machine, after the relay has stopped in order.
func (m *machine) restart(by string) error {
	m.journal.Restarting(by)
	m.stopServing()
	if !m.relay.Await(stopPatience) {
		m.try("relay", errors.New("it did not stop in time, and is cut off"))
	}
	return kernel.Restart()
}

// reset erases everything that was stored and restarts the machine. Settings
// on trial stay where it fails: who resets a box has reached it.
func (m *machine) reset(ctx context.Context, by string) error {
	m.journal.FactoryReset(by)
	m.confirmed.Stop()
	m.stopServing()
	m.relay.Kill()
	m.relay.Await(stopPatience)
	if err := m.erase(ctx); err != nil {
		// What was not erased goes on: nobody else would start the relay again.
		m.reload(context.WithoutCancel(ctx))
		return fmt.Errorf("erasing what was stored, try again: %w", err)
	}
	return kernel.Restart()
}

// stopServing asks the relay to end, and nobody to start it again.
func (m *machine) stopServing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.serving != nil {
		m.serving()
		m.serving = nil
	}
}
