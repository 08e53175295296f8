package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// numberedTokens issues token-1, token-2 and so on.
func numberedTokens(lifetime time.Duration) *source {
	return &source{token: func(_ context.Context, n int) (Token, error) {
		return lasting(fmt.Sprint("token-", n), lifetime), nil
	}}
}

func wantToken(t *testing.T, ts *TokenSource, want string) Token {
	t.Helper()
	token, err := ts.Token(t.Context())
	if err != nil || token.Bearer.Reveal() != want {
		t.Fatalf("Token() = %q, %v; want %q", token.Bearer.Reveal(), err, want)
	}
	return token
}

func TestTokenSource_SharesOneRequest(t *testing.T) {
	server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
	identity := newIdentity(t)
	var callers sync.WaitGroup
	var started sync.WaitGroup
	started.Add(100)
	identity.before = started.Wait
	ts := newTokenSource(t, must(newIssuer(t, server.Server, nil).Certificate(identity, identity.leaf, PS256)))
	for range 100 {
		callers.Go(func() {
			started.Done()
			if token, err := ts.Token(t.Context()); err != nil || token.Bearer.Reveal() != "access" {
				t.Errorf("Token() = %q, %v", token.Bearer.Reveal(), err)
			}
		})
	}
	callers.Wait()
	if requests, signed := len(server.requests()), identity.signed.Load(); requests != 1 || signed != 1 {
		t.Errorf("got %d requests and %d signatures, want one each", requests, signed)
	}
}

func TestTokenSource_RenewsBeforeExpiry(t *testing.T) {
	for _, c := range []struct{ lifetime, renew time.Duration }{
		{time.Hour, 55 * time.Minute},
		{4 * time.Minute, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			grant := numberedTokens(c.lifetime)
			ts := newTokenSource(t, grant)
			wantToken(t, ts, "token-1")
			pass(c.renew - time.Second)
			wantToken(t, ts, "token-1")
			pass(time.Second)
			if grant.requests.Load() != 1 {
				t.Fatalf("renewed without a caller")
			}
			wantToken(t, ts, "token-1")
			synctest.Wait()
			wantToken(t, ts, "token-2")
		})
	}
}

func TestTokenSource_ReturnsNoExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokenSource(t, numberedTokens(time.Hour))
		wantToken(t, ts, "token-1")
		pass(time.Hour)
		wantToken(t, ts, "token-2")
	})
}

func TestTokenSource_ReturnsAValidTokenWhileTheIssuerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := &Fault{Kind: Wait, Text: "down"}
		ts := newTokenSource(t, &source{token: func(_ context.Context, n int) (Token, error) {
			if n > 1 {
				return Token{}, fault
			}
			return lasting("token-1", time.Hour), nil
		}})
		for range 59 {
			wantToken(t, ts, "token-1")
			pass(time.Minute)
		}
		pass(time.Minute)
		got := (*Fault)(nil)
		if _, err := ts.Token(t.Context()); !errors.As(err, &got) || got.Text != "down" {
			t.Errorf("after expiry: got %v, want the fault down", err)
		}
	})
}

func TestTokenSource_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		ts := newTokenSource(t, &source{token: func(context.Context, int) (Token, error) {
			at = append(at, time.Now())
			return Token{}, &Fault{Kind: Wait, Text: "down"}
		}})
		for range 3600 {
			fault := (*Fault)(nil)
			if _, err := ts.Token(t.Context()); !errors.As(err, &fault) || fault.RetryAfter <= 0 {
				t.Fatalf("Token() = %v, want a fault with RetryAfter", err)
			}
			pass(time.Second)
		}
		if len(at) < 15 || len(at) > 25 {
			t.Errorf("got %d requests in an hour", len(at))
		}
		if first, last := at[1].Sub(at[0]), at[len(at)-1].Sub(at[len(at)-2]); first < 4*time.Second || first > 8*time.Second ||
			last < 4*time.Minute || last > 6*time.Minute+time.Second {
			t.Errorf("the delays grew from %v to %v", first, last)
		}
	})
}

func TestTokenSource_HonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := &source{token: func(_ context.Context, n int) (Token, error) {
			if n == 1 {
				return Token{}, &Fault{Kind: Wait, Text: "busy", RetryAfter: 20 * time.Minute}
			}
			return lasting("token", time.Hour), nil
		}}
		ts := newTokenSource(t, grant)
		for range 20 {
			if _, err := ts.Token(t.Context()); err == nil {
				t.Fatal("got a token before the issuer's Retry-After")
			}
			pass(time.Minute)
		}
		wantToken(t, ts, "token")
	})
}

func TestReject_ReplacesATokenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := numberedTokens(time.Hour)
		ts := newTokenSource(t, grant)
		first := wantToken(t, ts, "token-1")
		ts.Reject(first)
		ts.Reject(first)
		second := wantToken(t, ts, "token-2")
		ts.Reject(first)
		wantToken(t, ts, "token-2")
		for range 50 {
			ts.Reject(second)
			wantToken(t, ts, "token-2")
		}
		pass(minForcedInterval)
		ts.Reject(second)
		wantToken(t, ts, "token-3")
		if requests := grant.requests.Load(); requests != 3 {
			t.Errorf("got %d requests", requests)
		}
	})
}

func TestReject_DoesNotLoopOnTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := &source{token: func(context.Context, int) (Token, error) { return lasting("same", time.Hour), nil }}
		ts := newTokenSource(t, grant)
		for range 50 {
			ts.Reject(wantToken(t, ts, "same"))
		}
		if requests := grant.requests.Load(); requests != 2 {
			t.Errorf("got %d requests", requests)
		}
	})
}

// failingOnce issues token-1 and then, after the fault, token-3.
func failingOnce(fault *Fault) *source {
	return &source{token: func(_ context.Context, n int) (Token, error) {
		if n == 2 {
			return Token{}, fault
		}
		return lasting(fmt.Sprint("token-", n), time.Hour), nil
	}}
}

func TestReject_KeepsTheTokenWhileTheIssuerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := failingOnce(&Fault{Kind: Wait, Text: "down"})
		ts := newTokenSource(t, grant)
		ts.Reject(wantToken(t, ts, "token-1"))
		if token, err := ts.Token(t.Context()); err == nil {
			t.Errorf("got %q again", token.Bearer.Reveal())
		}
		for range 20 {
			wantToken(t, ts, "token-1")
		}
		if requests := grant.requests.Load(); requests != 2 {
			t.Errorf("got %d requests", requests)
		}
		pass(time.Minute)
		wantToken(t, ts, "token-1")
		synctest.Wait()
		wantToken(t, ts, "token-3")
	})
}

func TestReject_ReturnsTheIssuersConfigurationFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokenSource(t, failingOnce(&Fault{Kind: Configuration, Text: "the application is disabled"}))
		ts.Reject(wantToken(t, ts, "token-1"))
		for range 2 {
			if token, err := ts.Token(t.Context()); err == nil {
				t.Errorf("got %q again", token.Bearer.Reveal())
			}
		}
		pass(time.Minute)
		wantToken(t, ts, "token-3")
	})
}

func TestTokenSource_HonoursEachContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		grant := &source{token: func(context.Context, int) (Token, error) {
			<-release
			return lasting("token", time.Hour), nil
		}}
		ts := newTokenSource(t, grant)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := ts.Token(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("Token() = %v after %v", err, time.Since(begun))
		}
		close(release)
		wantToken(t, ts, "token")
		if requests := grant.requests.Load(); requests != 1 {
			t.Errorf("got %d requests, want 1: the request ended with its first waiter", requests)
		}
	})
}

func TestClose_CancelsTheCurrentRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := NewTokenSource(&source{token: func(ctx context.Context, _ int) (Token, error) {
			<-ctx.Done()
			return Token{}, ctx.Err()
		}}, nil)
		var waited error
		go func() { _, waited = ts.Token(t.Context()) }()
		synctest.Wait()
		ts.Close()
		synctest.Wait()
		if !errors.Is(waited, context.Canceled) {
			t.Errorf("the waiter got %v, want %v", waited, context.Canceled)
		}
		if _, err := ts.Token(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("Token() after Close = %v", err)
		}
	})
}

// countingObserver is an Observer that counts calls.
type countingObserver struct {
	succeeded, failed atomic.Int32
	grant             atomic.Value
}

func (o *countingObserver) Requested(grant string, _ time.Duration, err error) {
	o.grant.Store(grant)
	if err != nil {
		o.failed.Add(1)
		return
	}
	o.succeeded.Add(1)
}

func TestObserver_ReceivesEachRequest(t *testing.T) {
	server := serve(t, func(_ url.Values, n int) issuerResponse {
		return []issuerResponse{entraError(7000215, "invalid_client"), tokenResponse("access", "", 3600)}[n]
	})
	secret := must(newIssuer(t, server.Server, nil).ClientSecret(NewSecret("hush")))
	o := new(countingObserver)
	for range 2 {
		ts := NewTokenSource(secret, o)
		ts.Token(t.Context())
		ts.Token(t.Context())
		ts.Close()
	}
	if o.succeeded.Load() != 1 || o.failed.Load() != 1 || o.grant.Load() != "client secret" {
		t.Errorf("got %d succeeded and %d failed requests by %v", o.succeeded.Load(), o.failed.Load(), o.grant.Load())
	}
}
