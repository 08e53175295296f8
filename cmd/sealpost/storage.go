package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/hal/linux/flash"
	"sealpost/provisioning/spoolkey"
	"sealpost/provisioning/state"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// lockPatience is how long another sealpost command is waited for.
const lockPatience = 2 * time.Second

// storage is the open spool, and the lock that keeps others off it.
type storage struct {
	*spool.Spool
	recovery spool.Recovery
	unlock   func() error
}

// ring is the part of the state behind the settings area.
func (b *box) ring() (*flash.Region, error) {
	ring, err := b.device.Region(state.AreaSize, b.device.Size()-state.AreaSize)
	if err != nil {
		return nil, fmt.Errorf("%s has no room for a spool: %w", b.settings.State.Path, err)
	}
	return ring, nil
}

// lockedRing is the ring, kept from every other process until unlock.
func (b *box) lockedRing(ctx context.Context) (ring *flash.Region, unlock func() error, err error) {
	if ring, err = b.ring(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	if unlock, err = ring.Lock(ctx); err != nil {
		return nil, nil, fmt.Errorf("the spool: %w", err)
	}
	return ring, unlock, nil
}

// openSpool asks the TPM for the key and recovers what lies in the ring.
func (b *box) openSpool(ctx context.Context) (*storage, error) {
	ring, unlock, err := b.lockedRing(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, unsealPatience)
	defer cancel()
	key, err := spoolkey.Open(ctx, b.store, b.sealer(), spool.KeySize)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	defer clear(key)
	share := ring.Size() / 100 * int64(b.settings.Spool.ClientShare)
	opened, recovery, err := spool.Open(ring, key, spool.Limits{Share: share})
	if errors.Is(err, spool.ErrForeign) || errors.Is(err, spool.ErrKey) {
		err = fmt.Errorf("%w (to give up what is there and begin anew: sealpost spool format --yes)", err)
	}
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &storage{opened, recovery, unlock}, nil
}

func (s *storage) queue() *queue.Queue { return queue.New(s.Spool) }

func (s *storage) close() error { return errors.Join(s.Spool.Close(), s.unlock()) }
