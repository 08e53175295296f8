package candidate

import (
	"context"
	"testing"

	"sealpost/provisioning/state"
)

// changedStore is a store with a mistake, which modifies the sections that a change
// writes.
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

func withMistake(mistake func(before, after state.Sections)) func(Store) Store {
	return func(s Store) Store { return changedStore{s, mistake} }
}

// mistakes are boxes with one mistake each. The mistakes are outside the
// ConfirmedCommit: in its store, its caller, or the Applier.
var mistakes = map[string]variant{
	"a confirmation does not stop the timer": {confirm: func(ctx context.Context, c *ConfirmedCommit, store Store) error {
		if trial, _ := c.Trial(); !trial {
			return ErrNoTrial
		}
		return confirm(ctx, store, c.current().text)
	}},
	"settings that another process has just committed are confirmed too": {confirm: func(ctx context.Context, c *ConfirmedCommit, store Store) error {
		if t := c.current(); t != nil && t.known {
			running, err := Load(ctx, store)
			if err != nil {
				return err
			}
			t.text = running.Settings
		}
		return c.Confirm(ctx)
	}},
	"a confirmation is not stored": {store: withMistake(func(before, after state.Sections) {
		if trial, found := before[sectionTrial]; found && string(before[sectionSettings]) == string(after[sectionSettings]) {
			after[sectionTrial], after[sectionTrialSchema] = trial, before[sectionTrialSchema]
		}
	})},
	"a rollback restores the settings before the second of two trials": {store: withMistake(func(before, after state.Sections) {
		_, hadTrial := before[sectionTrial]
		if _, hasTrial := after[sectionTrial]; hadTrial && hasTrial {
			after[sectionTrial], after[sectionTrialSchema] = before[sectionSettings], before[sectionSchema]
		}
	})},
	"a boot does not roll back": {start: func(ctx context.Context, _ *ConfirmedCommit, store Store) error {
		return store.Update(ctx, func(state.Sections) error { return nil })
	}},
	"a rollback that failed is not repeated":       {failed: func(c *ConfirmedCommit) { go c.Stop() }},
	"settings that were rolled back stay in force": {noReload: true},
}

func TestConfirmedCommit_RandomSequencesDetectMistakes(t *testing.T) {
	for name, v := range mistakes {
		const limit = 1000
		if ran, err := runSequences(t, 1, limit, v); err == nil {
			t.Errorf("%s: not detected in %d sequences", name, ran)
		} else {
			t.Logf("%s: detected by sequence %d: %.400s", name, ran, err)
		}
	}
}
