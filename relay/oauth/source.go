package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Observer is told of each request to the issuer when it has ended.
type Observer interface {
	// Requested names the grant. An error holds nothing secret.
	Requested(grant string, took time.Duration, err error)
}

const (
	// renewBefore the end of a token's life, or halfway through a short one.
	renewBefore = 5 * time.Minute
	// firstPause after a failure grows to the longest one.
	firstPause = 5 * time.Second
	maxPause   = 5 * time.Minute
	// minForcedInterval is kept between renewals for refused tokens: a mailbox that
	// may not send refuses every token, and the issuer is not at fault.
	minForcedInterval = time.Minute
)

var errClosed = errors.New("the source of access tokens is closed")

// TokenSource keeps one access token fresh. It asks for one when it is wanted, and
// never for two at once. Time is counted from the issuer's expires_in by our
// monotonic clock: a clock that is set does not disturb it.
type TokenSource struct {
	grant    Grant
	observer Observer
	ctx      context.Context // of all requests
	close    context.CancelFunc
	work     sync.WaitGroup

	mu       sync.Mutex
	token    Token
	renewAt  time.Time
	rejected bool      // the token, by the mail server
	forced   time.Time // when a token was last believed to be refused
	request  *request  // under way, or nil
	failures int       // in a row
	failure  error     // the last of them
	retryAt  time.Time // when the issuer may be asked again
}

// request is one that is under way; it has ended when done is closed.
type request struct {
	done  chan struct{}
	token Token
	err   error
}

// NewTokenSource gives the source of a grant's token. The observer may be nil.
func NewTokenSource(grant Grant, observer Observer) *TokenSource {
	ctx, cancel := context.WithCancel(context.Background())
	return &TokenSource{grant: grant, observer: observer, ctx: ctx, close: cancel}
}

// Close ends what is under way and waits for it, and for a refresh token that
// is just being saved.
func (k *TokenSource) Close() {
	k.mu.Lock()
	k.close()
	k.mu.Unlock()
	k.work.Wait()
}

// Token gives a valid token, at once where there is one: a token near its end
// is renewed meanwhile. The error is a *Fault unless the context or the source
// has ended; its RetryAfter says when the issuer will be asked again.
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

// tokenOrRequest gives a token, or why there is none, or the request to wait for.
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

// ask makes one request, whoever waits for it or has stopped to.
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

// setToken takes a token as the one to use.
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

// currentFailure is the last failure, with the time that is left until the issuer is
// asked again.
func (k *TokenSource) currentFailure(now time.Time) error {
	fault := (*Fault)(nil)
	if !errors.As(k.failure, &fault) {
		return k.failure
	}
	left := *fault
	left.RetryAfter = max(k.retryAt.Sub(now), 0)
	return &left
}

// Reject tells that the mail server refused a token: the next Token gets a new
// one. That is so once for each token, and once within a minute, so that who
// asks again cannot loop; until then, and while the issuer cannot give another,
// the token is given out as it is, for the mail server to judge again.
func (k *TokenSource) Reject(token Token) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.token.Bearer.Empty() || !k.token.Bearer.Equal(token.Bearer) || !k.forced.IsZero() && now.Sub(k.forced) < minForcedInterval {
		return
	}
	k.rejected, k.forced = true, now
}
