package candidate

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"sealpost/hal/fault"
	"sealpost/provisioning/pin"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// ErrFactory is returned where the box was never set up.
var ErrFactory = fault.New(fault.FactoryState, "the box is in its factory state")

// Running is the configuration in force.
type Running struct {
	Settings string
	// Schema is the settings' own, as [settings.ParseStored] takes it.
	Schema int
	// Trial tells that the settings are on trial.
	Trial bool
	// Locked tells that the console asks for a PIN.
	Locked bool
}

// Load returns the configuration in force, or ErrFactory.
func Load(ctx context.Context, store Store) (Running, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Running{}, err
	}
	_, trial := sections[sectionTrial]
	_, locked := sections[sectionPIN]
	running := Running{string(sections[sectionSettings]), schemaIn(sections), trial, locked}
	if running.Settings == "" {
		return running, ErrFactory
	}
	return running, nil
}

// schemaIn is the schema of the settings; a number that cannot be read is none.
func schemaIn(sections state.Sections) int {
	n, err := strconv.Atoi(string(sections[sectionSchema]))
	if err != nil {
		return 1
	}
	return max(1, n)
}

// LoadSettings reads the settings that the box goes by. Its error is
// ErrFactory, the store's, or a *[settings.StoredError]; beside the last one
// comes what could be read, whose network the box keeps.
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

// LastOrigin is the origin of the candidate that was committed last of those
// that had one; empty where none was.
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

// confirm ends a trial of this text in the store: its settings stay. It fails
// with ErrOvertaken where another process has committed others since.
func confirm(ctx context.Context, store Store, text string) error {
	return store.Update(ctx, func(sections state.Sections) error {
		if string(sections[sectionSettings]) != text {
			return ErrOvertaken
		}
		keep(sections)
		return nil
	})
}

// rollBack ends a trial in the store: the settings before it come back. It
// tells whether there was one.
func rollBack(ctx context.Context, store Store) (rolled bool, err error) {
	err = store.Update(ctx, func(sections state.Sections) error {
		if _, rolled = sections[sectionTrial]; rolled {
			undo(sections)
		}
		return nil
	})
	return rolled && err == nil, err
}

// Opens reports whether digits open the console.
func Opens(ctx context.Context, store Store, digits string) (bool, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return false, err
	}
	stored, locked := sections[sectionPIN]
	if !locked {
		return true, nil
	}
	opens, err := pin.Matches(stored, digits)
	if err != nil {
		return false, fmt.Errorf("the console's PIN: %w", err)
	}
	return opens, nil
}
