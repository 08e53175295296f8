package server

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Storage is an open spool and its lock against other processes.
type Storage struct {
	*spool.Spool
	Recovery spool.Recovery
	Unlock   func() error
}

// Queue returns the queue in the spool.
func (s *Storage) Queue() *queue.Queue { return queue.New(s.Spool) }

// Close closes the spool and releases its lock.
func (s *Storage) Close() error { return errors.Join(s.Spool.Close(), s.Unlock()) }

// openSpool opens the spool. If the TPM is absent or another command holds the
// lock, it is retried in the background.
func (s *Server) openSpool(ctx context.Context) {
	opened, err := s.parts.OpenSpool(ctx)
	if err == nil {
		s.setStorage(opened)
		return
	}
	s.journal.SpoolClosed(err)
	s.dispatcher.SetQueueError(err)
	if s.parts.Temporary(err) {
		s.running.Go(func() { s.reopenSpool(ctx, err) })
	}
}

func (s *Server) reopenSpool(ctx context.Context, last error) {
	const interval = 5 * time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
		opened, err := s.parts.OpenSpool(ctx)
		if err == nil {
			s.setStorage(opened)
			return
		}
		if err.Error() != last.Error() && ctx.Err() == nil {
			s.journal.SpoolClosed(err)
			s.dispatcher.SetQueueError(err)
			last = err
		}
		if !s.parts.Temporary(err) {
			return
		}
	}
}

func (s *Server) setStorage(opened *Storage) {
	s.mu.Lock()
	s.storage = opened
	s.mu.Unlock()
	recovery := opened.Recovery
	for _, damage := range recovery.Damaged {
		s.journal.SpoolDamage(damage.String())
	}
	s.dispatcher.SetQueue(opened.Queue())
	// Recovery reads the whole ring: return that memory to the system.
	debug.FreeOSMemory()
	s.journal.SpoolOpened(recovery.Messages, recovery.Bytes, recovery.Cipher, recovery.Took)
}

// watchSpool ends the relay when the flash has failed: only recovery can
// determine its contents. Until then every message that needs the spool gets
// 451.
func (s *Server) watchSpool(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.dispatcher.Failed(); err != nil {
			s.journal.SpoolFault(err)
			cancel(err)
			return
		}
	}
}

// closeSpool ends the deliveries in progress and closes the spool.
func (s *Server) closeSpool() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := s.dispatcher.Close(ctx); err != nil {
		s.journal.SpoolFault(err)
	}
	if opened := s.opened(); opened != nil {
		if err := opened.Close(); err != nil {
			s.journal.SpoolFault(err)
		}
	}
}

func (s *Server) opened() *Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.storage
}
