package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/kernel"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/state"
	"sealpost/relay/spool"
)

// storage is the box's state device, or the fault why there is none.
type storage struct {
	path   string
	device *flash.Device // nil with a fault
	store  *state.Store  // the settings area; nil with a fault
	fault  *fault.Fault
}

// errNoStorage is the fault of a box whose state device cannot be used.
var errNoStorage = fault.New(fault.NoStorage, "the storage of this box cannot be used")

// openStorage waits for the state device and opens the settings area. partition is the
// PARTUUID to which path becomes a link; empty if path is a device.
func openStorage(path, partition string) *storage {
	s := &storage{path: path}
	if err := s.open(partition); err != nil {
		s.fault = errNoStorage.With("path", path).Wrap(err)
	}
	return s
}

func (s *storage) open(partition string) error {
	var err error
	if partition != "" {
		err = kernel.LinkPartition(partition, s.path, DeviceTimeout)
	}
	if err == nil {
		err = kernel.AwaitDevice(s.path, DeviceTimeout)
	}
	if err != nil {
		return fmt.Errorf("the storage device did not appear: %w", err)
	}
	device, err := flash.Open(s.path)
	if err != nil {
		return err
	}
	store, err := wire.StoreIn(device)
	if err != nil {
		return errors.Join(err, device.Close())
	}
	s.device, s.store = device, store
	return nil
}

// err returns the fault as an error; nil if the storage can be used.
func (s *storage) err() error {
	if s.fault == nil {
		return nil
	}
	return s.fault
}

// candidateStore returns the store as an interface; nil if there is none.
func (s *storage) candidateStore() candidate.Store {
	if s.store == nil {
		return nil
	}
	return s.store
}

// handOver passes ownership of the device to the relay's user.
func (s *storage) handOver() error {
	if s.fault != nil {
		return nil // it was logged already
	}
	return os.Chown(s.path, relayUser, relayUser)
}

// eraseTimeout limits an erase, including the wait for the lock.
const eraseTimeout = 4 * time.Minute

// erase erases the state, as before its first use.
func (s *storage) erase(ctx context.Context) error {
	if s.fault != nil {
		return s.fault
	}
	ring, err := wire.Ring(s.device)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	unlock, err := ring.Lock(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.store.Erase(ctx), spool.Erase(ring), unlock())
}
