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

// trialTime is how long settings on trial wait to be confirmed.
const trialTime = 2 * time.Minute

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
// nil in the factory state. Where they cannot be read those before stay.
func (m *machine) adopt(ctx context.Context) *settings.Settings {
	stored, err := m.stored(ctx)
	unreadable := err != nil && !errors.Is(err, candidate.ErrFactory)
	if unreadable {
		m.try("settings", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unreadable = unreadable; unreadable && m.settings != nil {
		return m.settings
	}
	m.settings = stored
	m.network.Apply(networkOf(orDefault(stored)))
	m.try("host name", kernel.SetHostname(string(orDefault(stored).Network.Name)))
	return stored
}

// serve runs the relay. The caller holds mu.
func (m *machine) serve(ctx context.Context) {
	serving, stop := context.WithCancel(ctx)
	m.serving = stop
	go m.relay.Run(serving)
}

// storedText is that of the settings that the box is to go by, or ErrFactory.
func (m *machine) storedText(ctx context.Context) (string, error) {
	if m.store == nil {
		return "", errNoState
	}
	running, err := candidate.Load(ctx, m.store)
	return running.Settings, err
}

// stored reads the settings that the box is to go by; nil with ErrFactory.
func (m *machine) stored(ctx context.Context) (*settings.Settings, error) {
	text, err := m.storedText(ctx)
	if err != nil {
		return nil, err
	}
	s, err := settings.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return &s, nil
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

// applied takes over settings that were just committed. On trial they go back
// unless somebody confirms them in time.
func (m *machine) applied(ctx context.Context) error {
	if m.store == nil {
		return errNoState
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	running, err := candidate.Load(ctx, m.store)
	if err != nil && !errors.Is(err, candidate.ErrFactory) {
		return err
	}
	m.endTrial()
	if running.Trial {
		m.beginTrial(running.Settings)
	}
	if running.Trial {
		m.journal.SettingsApplied(trialTime)
	} else {
		m.journal.SettingsApplied(0)
	}
	m.reload(context.WithoutCancel(ctx))
	return nil
}

// beginTrial has settings on trial go back in time. The caller holds changing.
func (m *machine) beginTrial(text string) {
	ends := time.Now().Add(trialTime)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trialEnds = ends
	m.trial = time.AfterFunc(trialTime, func() { m.try("settings", m.trialOver(text, ends)) })
}

// trialOver takes back settings that nobody confirmed, unless that trial ended,
// or another began, while this waited for its turn.
func (m *machine) trialOver(text string, ends time.Time) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	over := m.trial != nil && m.trialEnds.Equal(ends)
	m.mu.Unlock()
	if !over {
		return nil
	}
	ctx := context.Background()
	if stored, err := m.storedText(ctx); err == nil && stored != text {
		m.beginTrial(stored) // who has just committed these is about to say so
		return nil
	}
	return m.takeBack(ctx)
}

// endTrial stops the clock of a trial.
func (m *machine) endTrial() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trial != nil {
		m.trial.Stop()
		m.trial = nil
	}
}

// confirm makes settings on trial stay.
func (m *machine) confirm(ctx context.Context) error {
	if m.store == nil {
		return errNoState
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	if !m.onTrial() {
		return errNoTrial
	}
	if err := candidate.Confirm(ctx, m.store); err != nil {
		return err // the trial goes on, and what it is of goes back in time
	}
	m.endTrial()
	return nil
}

// errNoTrial is the error of a confirmation that came too late.
var errNoTrial = errors.New("nothing is on trial any more: see under settings which are in force, and make the change again if it is not among them")

func (m *machine) onTrial() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trial != nil
}

// giveBack takes settings on trial out of force.
func (m *machine) giveBack(ctx context.Context) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	return m.takeBack(ctx)
}

// takeBack is giveBack for who holds changing.
func (m *machine) takeBack(ctx context.Context) error {
	if err := m.rollBack(ctx); err != nil {
		return err
	}
	m.endTrial()
	m.reload(context.WithoutCancel(ctx))
	return nil
}

// rollBack gives up settings on trial, such as those that a power cut found.
func (m *machine) rollBack(ctx context.Context) error {
	if m.store == nil {
		return errNoState
	}
	rolled, err := candidate.RollBack(ctx, m.store)
	if rolled {
		m.journal.SettingsRolledBack()
	}
	return err
}

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
	m.endTrial()
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
