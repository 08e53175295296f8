package candidate

import (
	"context"
	"slices"
	"strconv"

	"sealpost/hal/fault"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// ErrFactory is returned if the box is not set up.
var ErrFactory = fault.New(fault.FactoryState, "the box is in its factory state")

// Running is the running configuration.
type Running struct {
	Settings string
	// Schema is the schema of the settings, for [settings.ParseStored].
	Schema int
	// Trial reports that the settings are on trial.
	Trial bool
	// Locked reports that the console asks for a PIN.
	Locked bool
	// WrongPINs is the number of wrong ones in a row.
	WrongPINs int
}

// Load returns the running configuration, or ErrFactory.
func Load(ctx context.Context, store Store) (Running, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Running{}, err
	}
	_, trial := sections[sectionTrial]
	_, locked := sections[sectionPIN]
	running := Running{string(sections[sectionSettings]), schemaIn(sections), trial, locked, wrongPINs(sections)}
	if running.Settings == "" {
		return running, ErrFactory
	}
	return running, nil
}

// schemaIn returns the schema of the stored settings, by default 1.
func schemaIn(sections state.Sections) int {
	n, err := strconv.Atoi(string(sections[sectionSchema]))
	if err != nil {
		return 1
	}
	return max(1, n)
}

// LoadSettings returns the running settings. Its error is ErrFactory, an error of
// the store, or a *[settings.StoredError]; with the last one it also returns what
// could be read, because the box keeps using its network settings.
func LoadSettings(ctx context.Context, store Store) (settings.Stored, error) {
	running, err := Load(ctx, store)
	if err != nil {
		return settings.Stored{}, err
	}
	stored, err := settings.ParseStored([]byte(running.Settings), running.Schema)
	return stored, fault.Mark(fault.SettingsInvalid, err)
}

// Applied reports whether a candidate of this origin was committed before.
func Applied(ctx context.Context, store Store, origin string) (bool, error) {
	sections, err := store.Load(ctx)
	return err == nil && slices.Contains(origins(sections), origin), err
}

// LastOrigin returns the origin of the last committed candidate that had one;
// empty if there is none.
func LastOrigin(ctx context.Context, store Store) (string, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return "", err
	}
	if known := origins(sections); len(known) > 0 {
		return known[len(known)-1], nil
	}
	return "", nil
}

// confirm confirms settings on trial in the store. It fails with ErrOvertaken if
// another process has committed other settings since.
func confirm(ctx context.Context, store Store, text string) error {
	return store.Update(ctx, func(sections state.Sections) error {
		if string(sections[sectionSettings]) != text {
			return ErrOvertaken
		}
		endTrial(sections)
		return nil
	})
}

// rollBack restores the settings before a trial in the store. It reports whether
// there was a trial.
func rollBack(ctx context.Context, store Store) (rolled bool, err error) {
	err = store.Update(ctx, func(sections state.Sections) error {
		if _, rolled = sections[sectionTrial]; rolled {
			restore(sections)
		}
		return nil
	})
	return rolled && err == nil, err
}
