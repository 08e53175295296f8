package candidate

import (
	"context"
	"testing"

	"sealpost/provisioning/state"
)

// changedStore is a store whose writes are changed by a mistake, which sees
// the sections before and after a change.
type changedStore struct {
	Store
	mistake func(before, after state.Sections)
}

func (s changedStore) Update(ctx context.Context, change func(state.Sections) error) error {
	return s.Store.Update(ctx, func(sections state.Sections) error {
		before := state.Sections{}
		for name, content := range sections {
			before[name] = content
		}
		if err := change(sections); err != nil {
			return err
		}
		s.mistake(before, sections)
		return nil
	})
}

func changed(mistake func(before, after state.Sections)) func(Store) Store {
	return func(s Store) Store { return changedStore{s, mistake} }
}

// mistakes are boxes of which each does one thing wrong. What is wrong is
// around the ConfirmedCommit: its store, its caller, or whom it calls.
var mistakes = map[string]variant{
	"a confirmation does not stop the time": {confirm: func(ctx context.Context, c *ConfirmedCommit, store Store) error {
		if trial, _ := c.Trial(); !trial {
			return ErrNoTrial
		}
		return confirm(ctx, store, c.current().text)
	}},
	"what another process has just committed is confirmed unseen": {confirm: func(ctx context.Context, c *ConfirmedCommit, store Store) error {
		if t := c.current(); t != nil && t.known {
			running, err := Load(ctx, store)
			if err != nil {
				return err
			}
			t.text = running.Settings
		}
		return c.Confirm(ctx)
	}},
	"a confirmation is not stored": {store: changed(func(before, after state.Sections) {
		if trial, found := before[sectionTrial]; found && string(before[sectionSettings]) == string(after[sectionSettings]) {
			after[sectionTrial], after[sectionTrialSchema] = trial, before[sectionTrialSchema]
		}
	})},
	"the settings before the second of two trials come back": {store: changed(func(before, after state.Sections) {
		_, was := before[sectionTrial]
		if _, is := after[sectionTrial]; was && is {
			after[sectionTrial], after[sectionTrialSchema] = before[sectionSettings], before[sectionSchema]
		}
	})},
	"a boot does not roll back": {start: func(ctx context.Context, _ *ConfirmedCommit, store Store) error {
		return store.Update(ctx, func(state.Sections) error { return nil })
	}},
	"a rollback that failed is not repeated":       {failed: func(c *ConfirmedCommit) { go c.Stop() }},
	"settings that were rolled back stay in force": {noReload: true},
}

func TestConfirmedCommit_RandomSequencesFindMistakes(t *testing.T) {
	for name, v := range mistakes {
		const limit = 1000
		if ran, err := sequences(t, 1, limit, v); err == nil {
			t.Errorf("%s: not found in %d sequences", name, ran)
		} else {
			t.Logf("%s: found by sequence %d: %.400s", name, ran, err)
		}
	}
}
