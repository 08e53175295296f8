package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/spoolkey"
	"sealpost/relay/server"
	"sealpost/relay/spool"
)

// unsealTimeout is how long the start of a relay waits for the TPM to unseal.
const unsealTimeout = 15 * time.Second

func (b *Box) ring() (*flash.Region, error) {
	ring, err := Ring(b.Device)
	if err != nil {
		return nil, fmt.Errorf("%s has no room for a spool: %w", b.Settings.State.Path, err)
	}
	return ring, nil
}

// lockedRing returns the ring, locked against other processes until unlock.
func (b *Box) lockedRing(ctx context.Context) (ring *flash.Region, unlock func() error, err error) {
	if ring, err = b.ring(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, LockTimeout)
	defer cancel()
	if unlock, err = ring.Lock(ctx); err != nil {
		return nil, nil, fmt.Errorf("the spool: %w", err)
	}
	return ring, unlock, nil
}

// OpenSpool unseals the key with the TPM and recovers the ring.
func (b *Box) OpenSpool(ctx context.Context) (*server.Storage, error) {
	ring, unlock, err := b.lockedRing(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, unsealTimeout)
	defer cancel()
	key, err := spoolkey.Open(ctx, b.Store, b.Sealer(), spool.KeySize)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	defer clear(key)
	share := ring.Size() / 100 * int64(b.Settings.Spool.ClientShare)
	opened, recovery, err := spool.Open(ring, key, spool.Limits{Share: share})
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &server.Storage{Spool: opened, Recovery: recovery, Unlock: unlock}, nil
}

// DumpSpool prints the records of the ring without message content.
func (b *Box) DumpSpool(ctx context.Context, w io.Writer) error {
	ring, err := b.ring()
	if err != nil {
		return err
	}
	key, err := spoolkey.Open(ctx, b.Store, b.Sealer(), spool.KeySize)
	if err != nil {
		return err
	}
	defer clear(key)
	return spool.Dump(w, ring, ring.Size(), key)
}

// FormatSpool discards the queued mail and the key. It replaces the key before it
// erases the ring, so that no key is used for two rings: after a power cut in
// between, the spool reports that it must be formatted.
func (b *Box) FormatSpool(ctx context.Context) error {
	return b.erase(ctx, func() error {
		key, err := spoolkey.Renew(ctx, b.Store, b.Sealer(), spool.KeySize)
		clear(key)
		return err
	})
}

// Erase erases everything that is stored.
func (b *Box) Erase(ctx context.Context) error {
	return b.erase(ctx, func() error { return b.Store.Erase(ctx) })
}

// erase erases the ring after first has succeeded. It locks the ring before: if a
// relay holds the lock, nothing is changed.
func (b *Box) erase(ctx context.Context, first func() error) error {
	ring, unlock, err := b.lockedRing(ctx)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if err := first(); err != nil {
		return errors.Join(err, unlock())
	}
	return errors.Join(spool.Erase(ring), unlock())
}

// Temporary reports whether a fault of the TPM or the state may resolve without
// intervention.
func Temporary(err error) bool {
	fault := (*hal.TPMFault)(nil)
	return errors.As(err, &fault) && fault.State != hal.TPMReplaced ||
		errors.Is(err, flash.ErrInUse) || errors.Is(err, context.DeadlineExceeded)
}
