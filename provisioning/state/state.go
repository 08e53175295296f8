// Package state stores the settings area at the start of the state: two slots,
// of which the newest valid one is read.
//
// It knows slots, generations and named sections of bytes. It must not know what
// a section means, where the area is, or what follows it.
//
// A write goes to the older slot, so that the newest valid one stays intact. The
// very first write goes to both: from then on one damaged slot loses at most the
// last change.
package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sealpost/hal"
	"sealpost/hal/fault"
)

// SlotSize and AreaSize are the layout of every state, in bytes: two slots at its
// start. The spool ring begins at AreaSize.
const (
	SlotSize = 1 << 20
	AreaSize = 2 * SlotSize
)

// ErrDamaged is the error of a Load or Update that found no valid slot.
var ErrDamaged = fault.New(fault.StateDamaged, "both copies of the settings are damaged")

// ErrNewer is the error of a Load or Update that found a newer format.
var ErrNewer = fault.New(fault.StateNewer, "the settings were written by a newer Sealpost")

// Area is the flash of the two slots, half of it each.
type Area interface {
	hal.Flash
	// Lock locks the area against all other users until unlock is called. It
	// waits until ctx is done.
	Lock(ctx context.Context) (unlock func() error, err error)
}

// Sections are the named parts of the stored data. They may contain secrets, so
// they print only their names and sizes.
type Sections map[string][]byte

func (s Sections) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, fmt.Sprintf("%q: %d bytes", name, len(s[name])))
	}
	return "sections {" + strings.Join(parts, ", ") + "}"
}

// GoString keeps %#v from printing the content.
func (s Sections) GoString() string { return s.String() }

// LogValue keeps slog from printing the content.
func (s Sections) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Store reads and changes the sections in an area. It is safe for concurrent
// use, also by several processes, if the area's lock is.
type Store struct {
	area   Area
	failed error // the first write that failed; guarded by the area's lock
}

// Open returns the store in an area. It does not read the area.
func Open(area Area) *Store { return &Store{area: area} }

// Load returns the stored sections; none if nothing was stored yet.
func (s *Store) Load(ctx context.Context) (sections Sections, err error) {
	err = s.locked(ctx, "reading", func() error {
		current, err := readSlots(s.area)
		if err != nil {
			return err
		}
		sections, err = decodeSections(current.newest().payload)
		return err
	})
	return sections, err
}

// Version returns a value that is another one after each change. It reads only the
// headers of the slots and does not wait for a lock, so it is cheap; during a change it
// may be that of neither the old nor the new sections.
func (s *Store) Version() (string, error) {
	headers := make([]byte, 0, 2*checksumEnd)
	for i := range 2 {
		header := make([]byte, headerSize)
		if _, err := s.area.ReadAt(header, slotOffset(s.area, i)); err != nil {
			return "", fmt.Errorf("reading the header of settings slot %d: %w", i, err)
		}
		headers = append(headers, header[:checksumEnd]...)
	}
	return string(headers), nil
}

// Update calls change with the sections and stores them. After an error of change
// the area is unchanged. After any other error it contains either the old or the
// new sections.
func (s *Store) Update(ctx context.Context, change func(Sections) error) error {
	var refused error
	err := s.locked(ctx, "changing", func() error {
		current, err := readSlots(s.area)
		if err != nil {
			return err
		}
		sections, err := decodeSections(current.newest().payload)
		if err != nil {
			return err
		}
		if refused = change(sections); refused != nil {
			return refused
		}
		payload, err := json.Marshal(sections)
		if err != nil {
			return err
		}
		if bytes.Equal(payload, current.newest().payload) {
			// A killed process may have left the current slot unflushed.
			return s.guarded(s.area.Flush)
		}
		return s.write(current, payload)
	})
	if refused != nil {
		return refused // it says itself what is wrong
	}
	return err
}

// write stores payload in the older slot, and in both if neither is valid.
func (s *Store) write(current slots, payload []byte) error {
	if limit := slotSize(s.area) - headerSize; int64(len(payload)) > limit {
		return fmt.Errorf("they need %d bytes and only %d fit: remove certificates or texts that are not needed", len(payload), limit)
	}
	return s.guarded(func() error {
		generation := current.newest().generation + 1
		if err := writeSlot(s.area, current.older(), generation, payload); err != nil {
			return err
		}
		if current.newest().condition != valid {
			return writeSlot(s.area, 1-current.older(), generation+1, payload)
		}
		return nil
	})
}

// Erase overwrites both slots, as before the first write. It also works on a
// damaged area and on that of a newer Sealpost.
func (s *Store) Erase(ctx context.Context) error {
	return s.locked(ctx, "erasing", func() error {
		// The older slot is erased first: a power cut in between must not make it
		// the newest. The order is known even for damaged and newer formats.
		current, _ := readSlots(s.area)
		return s.guarded(func() error {
			if err := eraseSlot(s.area, current.older()); err != nil {
				return err
			}
			return eraseSlot(s.area, 1-current.older())
		})
	})
}

// guarded runs a write. After a failed write it allows no other, because the page
// cache is unreliable until the box has restarted.
func (s *Store) guarded(write func() error) error {
	if s.failed != nil {
		return fmt.Errorf("an earlier write failed: switch the box off and on; if it fails again, replace the flash (%w)", s.failed)
	}
	s.failed = write()
	return s.failed
}

func (s *Store) locked(ctx context.Context, doing string, work func() error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s the stored settings: %w", doing, err)
		}
	}()
	waiting, cancel := context.WithTimeoutCause(ctx, lockTimeout, errStuck)
	defer cancel()
	unlock, err := s.area.Lock(waiting)
	if err != nil {
		if cause := context.Cause(waiting); errors.Is(cause, errStuck) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return work()
}

// lockTimeout is the time to wait for another user of the area, which holds the
// lock for a few writes and TPM commands.
const lockTimeout = time.Minute

var errStuck = errors.New("another process has locked them for too long: switch the box off and on")

// decodeSections decodes a payload; an empty one has no sections.
func decodeSections(payload []byte) (Sections, error) {
	sections := Sections{}
	if len(payload) == 0 {
		return sections, nil
	}
	if err := json.Unmarshal(payload, &sections); err != nil || sections == nil {
		return nil, fmt.Errorf("%w (intact, but not decodable)", ErrDamaged)
	}
	return sections, nil
}
