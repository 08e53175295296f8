package candidate

import (
	"context"
	"fmt"
	"strconv"

	"sealpost/provisioning/pin"
	"sealpost/provisioning/state"
)

// maxWrongPINs is the highest count of wrong PINs that is stored. Above it nothing is
// written, because the delay is at its maximum anyway.
const maxWrongPINs = 99

// Unlock reports whether digits are the console's PIN, or it has none. If not, wrong
// is the number of wrong PINs in a row, which a power cut does not reset.
func Unlock(ctx context.Context, store Store, digits string) (right bool, wrong int, err error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return false, 0, err
	}
	stored, locked := sections[sectionPIN]
	if !locked {
		return true, 0, nil
	}
	wrong = wrongPINs(sections)
	if digits == "" {
		return false, wrong, nil // Enter alone does not count as a PIN
	}
	// The attempt is counted before the PIN is compared: otherwise a power cut after a
	// wrong PIN would prevent the count. If flash cannot be written, only the caller
	// counts, because the right PIN must still be accepted.
	wrong = min(wrong+1, maxWrongPINs)
	counted := store.Update(ctx, func(sections state.Sections) error {
		wrong = min(wrongPINs(sections)+1, maxWrongPINs)
		sections[sectionWrongPINs] = strconv.AppendInt(nil, int64(wrong), 10)
		return nil
	})
	if ctx.Err() != nil {
		return false, wrong, ctx.Err()
	}
	right, err = pin.Matches(stored, digits)
	if err != nil {
		return false, wrong, fmt.Errorf("the console's PIN: %w", err)
	}
	if !right {
		return false, wrong, nil
	}
	if counted == nil {
		err = store.Update(ctx, func(sections state.Sections) error {
			delete(sections, sectionWrongPINs)
			return nil
		})
	}
	return err == nil, 0, err
}

// wrongPINs returns the number of wrong PINs in a row.
func wrongPINs(sections state.Sections) int {
	n, err := strconv.Atoi(string(sections[sectionWrongPINs]))
	if err != nil {
		return 0
	}
	return min(max(n, 0), maxWrongPINs)
}
