package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"sealpost/relay/journal"
)

// sessions keeps TLS sessions for resumption, which saves a signature of 70 to
// 250 ms on a TPM. While there is none to resume, connections are opened one
// at a time, so that a burst waits for the first instead of signing as often
// as there are connections.
type sessions struct {
	tls.ClientSessionCache
	turn chan struct{}

	mu       sync.Mutex
	warm     bool
	origins  map[string]journal.Connection // what each host's full handshake showed
	failure  error                         // of the last turn, if it failed
	failed   Destination                   // of that turn
	failedAt time.Time
}

func newSessions() *sessions {
	const hosts = 8
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(hosts), turn: make(chan struct{}, 1),
		origins: make(map[string]journal.Connection)}
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.mu.Lock()
	s.warm = state != nil
	s.mu.Unlock()
	s.ClientSessionCache.Put(key, state)
}

// enter waits for the turn to open a connection. Who was waiting while another
// failed shares that failure, so that a dead host costs a crowd of clients no
// more time than one of them; but not what is another domain's or account's own.
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
	case s.warm:
		<-s.turn
		return func(error) {}, nil
	case s.failedAt.After(since) && (s.failed == to || s.failed.Domain == to.Domain && !ofAccount(s.failure)):
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

func ofAccount(err error) bool {
	own := (*AccountFault)(nil)
	return errors.As(err, &own)
}

// remember notes what a full handshake showed, and gives it to a connection
// that resumes it: the server knows us by what it saw then.
func (s *sessions) remember(record *journal.Connection) {
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
