package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"sealpost/relay/journal"
)

// sessions caches TLS sessions for resumption, which saves a TPM signature of
// 70 to 250 ms. While there is none to resume, connections are opened one at a
// time, so that a burst waits for the first instead of signing once per
// connection.
type sessions struct {
	tls.ClientSessionCache
	turn chan struct{}

	mu        sync.Mutex
	resumable bool
	origins   map[string]journal.Connection // connection of each host's full handshake
	failure   error                         // of the last open, if it failed
	failed    Destination                   // its destination
	failedAt  time.Time
}

func newSessions() *sessions {
	const hosts = 8
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(hosts), turn: make(chan struct{}, 1),
		origins: make(map[string]journal.Connection)}
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.mu.Lock()
	s.resumable = state != nil
	s.mu.Unlock()
	s.ClientSessionCache.Put(key, state)
}

// enter waits for the turn to open a connection. Callers that waited while
// another failed share that failure, so that a dead host delays many clients no
// longer than one; faults of another domain or account are not shared.
func (s *sessions) enter(ctx context.Context, to Destination) (leave func(error), err error) {
	since := time.Now()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, errBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.resumable:
		<-s.turn
		return func(error) {}, nil
	case s.failedAt.After(since) && (s.failed == to || s.failed.Domain == to.Domain && !isAccountFault(s.failure)):
		<-s.turn
		return nil, s.failure
	}
	return func(failure error) {
		if failure != nil && ctx.Err() == nil {
			s.mu.Lock()
			s.failure, s.failed, s.failedAt = failure, to, time.Now()
			s.mu.Unlock()
		}
		<-s.turn
	}, nil
}

func isAccountFault(err error) bool {
	accountFault := (*AccountFault)(nil)
	return errors.As(err, &accountFault)
}

// recordOrigin records a full handshake, and copies its data to a connection
// that resumes it.
func (s *sessions) recordOrigin(record *journal.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !record.Resumed {
		s.origins[record.Host] = *record
		return
	}
	origin := s.origins[record.Host]
	record.Requested, record.Authorities = origin.Requested, origin.Authorities
	record.Shown, record.Key = origin.Shown, origin.Key
}
