package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Observer receives each completed request to the issuer.
type Observer interface {
	// Requested reports a request. err contains no secret.
	Requested(grant string, took time.Duration, err error)
}

const (
	// renewBefore is the time before expiry at which a token is renewed; a short-lived
	// one is renewed at half its life.
	renewBefore = 5 * time.Minute
	// firstPause is the pause after the first failure, which grows up to maxPause.
	firstPause = 5 * time.Second
	maxPause   = 5 * time.Minute
	// minForcedInterval separates renewals of rejected tokens: a mailbox that may
	// not send rejects every token, and the issuer is not at fault.
	minForcedInterval = time.Minute
)

var errClosed = errors.New("the token source is closed")

// TokenSource caches one access token and renews it. It requests a token on
// demand, one at a time. Expiry is counted from expires_in by the monotonic
// clock, so a clock step does not affect it.
type TokenSource struct {
	grant    Grant
	observer Observer
	ctx      context.Context // for all requests
	close    context.CancelFunc
	work     sync.WaitGroup

	mu       sync.Mutex
	token    Token
	renewAt  time.Time
	rejected bool      // by the mail server
	forced   time.Time // when a renewal was last forced
	request  *request  // current request, or nil
	failures int       // in a row
	failure  error     // last failure
	retryAt  time.Time // earliest time of the next request
}

// request is a request in progress; it has ended when done is closed.
type request struct {
	done  chan struct{}
	token Token
	err   error
}

// NewTokenSource returns a source for the grant's token. observer may be nil.
func NewTokenSource(grant Grant, observer Observer) *TokenSource {
	ctx, cancel := context.WithCancel(context.Background())
	return &TokenSource{grant: grant, observer: observer, ctx: ctx, close: cancel}
}

// Close cancels the current request and waits for it, including the saving of a
// refresh token.
func (s *TokenSource) Close() {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.work.Wait()
}

// Token returns a valid token, at once if there is one: a token near its expiry
// is renewed in the background. The error is a *Fault unless the context or the
// source has ended; its RetryAfter is the time until the next request.
func (s *TokenSource) Token(ctx context.Context) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, fmt.Errorf("waiting for an access token: %w", err)
	}
	token, request, err := s.tokenOrRequest(time.Now())
	if request == nil {
		return token, err
	}
	select {
	case <-request.done:
		return request.token, request.err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for an access token: %w", context.Cause(ctx))
	}
}

// tokenOrRequest returns a token, or a request to wait for, or the last
// failure.
func (s *TokenSource) tokenOrRequest(now time.Time) (Token, *request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	usable := !s.token.Bearer.Empty() && !s.rejected && now.Before(s.token.Expires)
	if usable && now.Before(s.renewAt) {
		return s.token, nil, nil
	}
	if s.request == nil && s.ctx.Err() == nil && !now.Before(s.retryAt) {
		r := &request{done: make(chan struct{})}
		s.request = r
		s.work.Go(func() { s.run(r) })
	}
	switch {
	case usable:
		return s.token, nil, nil
	case s.request != nil:
		return Token{}, s.request, nil
	case s.ctx.Err() != nil:
		return Token{}, nil, errClosed
	}
	return Token{}, nil, s.currentFailure(now)
}

// run makes one request, independent of the callers that wait for it.
func (s *TokenSource) run(r *request) {
	begun := time.Now()
	token, err := s.grant.Token(s.ctx)
	if s.observer != nil {
		s.observer.Requested(s.grant.Name(), time.Since(begun), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.request = nil
	if err == nil {
		s.setToken(token)
		r.token = token
	} else {
		s.fail(err)
		r.err = s.currentFailure(time.Now())
	}
	close(r.done)
}

// setToken stores a new token.
func (s *TokenSource) setToken(token Token) {
	life := time.Until(token.Expires)
	s.token, s.rejected = token, false
	s.renewAt = token.Expires.Add(-min(renewBefore, life/2))
	s.failures, s.failure, s.retryAt = 0, nil, time.Time{}
}

// fail sets the time of the next request to the issuer. Jitter keeps boxes that lost the
// same issuer from sending their requests at the same time.
func (s *TokenSource) fail(err error) {
	pause := maxPause
	if s.failures < 16 {
		pause = min(maxPause, firstPause<<s.failures)
	}
	pause = pause*4/5 + rand.N(pause*2/5+1)
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		pause = max(pause, fault.RetryAfter)
		if s.rejected && fault.Kind == Wait {
			// Other mailboxes may still be served by it.
			s.rejected, s.renewAt = false, time.Now()
		}
	}
	s.failures++
	s.failure, s.retryAt = err, time.Now().Add(pause)
}

// currentFailure returns the last failure with the remaining time until the
// next request.
func (s *TokenSource) currentFailure(now time.Time) error {
	fault := (*Fault)(nil)
	if !errors.As(s.failure, &fault) {
		return s.failure
	}
	left := *fault
	left.RetryAfter = max(s.retryAt.Sub(now), 0)
	return &left
}

// Reject reports that the mail server rejected a token: the next Token gets a
// new one. This happens once for each token and at most once a minute, so that
// callers cannot loop. Until then, and while the issuer provides no other, the
// rejected token is still returned.
func (s *TokenSource) Reject(token Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.token.Bearer.Empty() || !s.token.Bearer.Equal(token.Bearer) || !s.forced.IsZero() && now.Sub(s.forced) < minForcedInterval {
		return
	}
	s.rejected, s.forced = true, now
}
