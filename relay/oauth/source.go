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
func (k *TokenSource) Close() {
	k.mu.Lock()
	k.close()
	k.mu.Unlock()
	k.work.Wait()
}

// Token returns a valid token, at once if there is one: a token near its expiry
// is renewed in the background. The error is a *Fault unless the context or the
// source has ended; its RetryAfter is the time until the next request.
func (k *TokenSource) Token(ctx context.Context) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, fmt.Errorf("waiting for an access token: %w", err)
	}
	token, request, err := k.tokenOrRequest(time.Now())
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
func (k *TokenSource) tokenOrRequest(now time.Time) (Token, *request, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	usable := !k.token.Bearer.Empty() && !k.rejected && now.Before(k.token.Expires)
	if usable && now.Before(k.renewAt) {
		return k.token, nil, nil
	}
	if k.request == nil && k.ctx.Err() == nil && !now.Before(k.retryAt) {
		r := &request{done: make(chan struct{})}
		k.request = r
		k.work.Go(func() { k.ask(r) })
	}
	switch {
	case usable:
		return k.token, nil, nil
	case k.request != nil:
		return Token{}, k.request, nil
	case k.ctx.Err() != nil:
		return Token{}, nil, errClosed
	}
	return Token{}, nil, k.currentFailure(now)
}

// ask makes one request, independent of the callers that wait for it.
func (k *TokenSource) ask(r *request) {
	begun := time.Now()
	token, err := k.grant.Token(k.ctx)
	if k.observer != nil {
		k.observer.Requested(k.grant.Name(), time.Since(begun), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.request = nil
	if err == nil {
		k.setToken(token)
		r.token = token
	} else {
		k.fail(err)
		r.err = k.currentFailure(time.Now())
	}
	close(r.done)
}

// setToken stores a new token.
func (k *TokenSource) setToken(token Token) {
	life := time.Until(token.Expires)
	k.token, k.rejected = token, false
	k.renewAt = token.Expires.Add(-min(renewBefore, life/2))
	k.failures, k.failure, k.retryAt = 0, nil, time.Time{}
}

// fail sets the time until the issuer is asked again. Jitter keeps boxes that
// lost the same issuer from coming back in step.
func (k *TokenSource) fail(err error) {
	pause := maxPause
	if k.failures < 16 {
		pause = min(maxPause, firstPause<<k.failures)
	}
	pause = pause*4/5 + rand.N(pause*2/5+1)
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		pause = max(pause, fault.RetryAfter)
		if k.rejected && fault.Kind == Wait {
			// Other mailboxes may still be served by it.
			k.rejected, k.renewAt = false, time.Now()
		}
	}
	k.failures++
	k.failure, k.retryAt = err, time.Now().Add(pause)
}

// currentFailure returns the last failure with the remaining time until the
// next request.
func (k *TokenSource) currentFailure(now time.Time) error {
	fault := (*Fault)(nil)
	if !errors.As(k.failure, &fault) {
		return k.failure
	}
	left := *fault
	left.RetryAfter = max(k.retryAt.Sub(now), 0)
	return &left
}

// Reject reports that the mail server rejected a token: the next Token gets a
// new one. This happens once for each token and at most once a minute, so that
// callers cannot loop. Until then, and while the issuer provides no other, the
// rejected token is still returned.
func (k *TokenSource) Reject(token Token) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.token.Bearer.Empty() || !k.token.Bearer.Equal(token.Bearer) || !k.forced.IsZero() && now.Sub(k.forced) < minForcedInterval {
		return
	}
	k.rejected, k.forced = true, now
}
