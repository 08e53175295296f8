package candidate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sealpost/provisioning/pin"
	"sealpost/provisioning/state"
)

// ErrFactory is returned where the box was never set up.
var ErrFactory = errors.New("the box is in its factory state: set it up over the serial console or with a USB stick")

// Running is what the box was told and goes by.
type Running struct {
	Settings string
	// Trial tells that the settings are on trial.
	Trial bool
	// Locked tells that the console asks for a PIN.
	Locked bool
}

// Load gives what the box goes by, or ErrFactory.
func Load(ctx context.Context, store Store) (Running, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Running{}, err
	}
	_, trial := sections[sectionTrial]
	_, locked := sections[sectionPIN]
	running := Running{string(sections[sectionSettings]), trial, locked}
	if running.Settings == "" {
		return running, ErrFactory
	}
	return running, nil
}

// Applied tells whether a candidate of this origin was committed before.
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

// confirm ends a trial in the store: its settings stay.
func confirm(ctx context.Context, store Store) error {
	return store.Update(ctx, func(sections state.Sections) error {
		delete(sections, sectionTrial)
		return nil
	})
}

// rollBack ends a trial in the store: the settings before it come back. It
// tells whether there was one.
func rollBack(ctx context.Context, store Store) (rolled bool, err error) {
	err = store.Update(ctx, func(sections state.Sections) error {
		before, trying := sections[sectionTrial]
		if rolled = trying; trying {
			sections[sectionSettings] = before
			delete(sections, sectionTrial)
		}
		return nil
	})
	return rolled && err == nil, err
}

// Opens tells whether digits open the console.
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
