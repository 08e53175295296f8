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

	mu        sync.Mutex
	resumable bool
	origins   map[string]journal.Connection // connection of each host's full handshake
	turns     map[string]*turn              // by domain, while somebody opens or waits
}

// turn is the turn to open a connection to one domain.
type turn struct {
	taken    chan struct{} // holds one value while taken
	users    int
	failure  error       // of the last open, if it failed
	failed   Destination // its destination
	failedAt time.Time
}

func newSessions() *sessions {
	const hosts = 8
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(hosts),
		origins: make(map[string]journal.Connection), turns: make(map[string]*turn)}
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.mu.Lock()
	s.resumable = state != nil
	s.mu.Unlock()
	s.ClientSessionCache.Put(key, state)
}

// enter waits for the turn to open a connection to a domain. Callers that waited while
// another failed share that failure, so that a dead host delays many clients no
// longer than one; faults of another account are not shared.
func (s *sessions) enter(ctx context.Context, to Destination) (leave func(error), err error) {
	since := time.Now()
	s.mu.Lock()
	t := s.join(to.Domain)
	s.mu.Unlock()
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.part(to.Domain, t)
		return nil, errBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.resumable:
		<-t.taken
		s.part(to.Domain, t)
		return func(error) {}, nil
	case t.failedAt.After(since) && (t.failed == to || !isAccountFault(t.failure)):
		<-t.taken
		s.part(to.Domain, t)
		return nil, t.failure
	}
	return func(failure error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if failure != nil && ctx.Err() == nil {
			t.failure, t.failed, t.failedAt = failure, to, time.Now()
		}
		<-t.taken
		s.part(to.Domain, t)
	}, nil
}

// join returns the domain's turn, for a user that will part. The caller holds mu.
func (s *sessions) join(domain string) *turn {
	t := s.turns[domain]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		s.turns[domain] = t
	}
	t.users++
	return t
}

// part ends the use of a turn. The caller holds mu.
func (s *sessions) part(domain string, t *turn) {
	if t.users--; t.users == 0 {
		delete(s.turns, domain)
	}
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
