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

// numbered issues token-1, token-2 and so on.
func numbered(life time.Duration) *source {
	return &source{token: func(_ context.Context, n int) (Token, error) {
		return lasting(fmt.Sprint("token-", n), life), nil
	}}
}

func wantToken(t *testing.T, k *TokenSource, want string) Token {
	t.Helper()
	token, err := k.Token(t.Context())
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
	k := newTokenSource(t, must(newIssuer(t, server.Server, nil).Certificate(identity, identity.leaf, PS256)))
	for range 100 {
		callers.Go(func() {
			started.Done()
			if token, err := k.Token(t.Context()); err != nil || token.Bearer.Reveal() != "access" {
				t.Errorf("Token() = %q, %v", token.Bearer.Reveal(), err)
			}
		})
	}
	callers.Wait()
	if asked, signed := len(server.asked()), identity.signed.Load(); asked != 1 || signed != 1 {
		t.Errorf("%d requests and %d signatures, want one each", asked, signed)
	}
}

func TestTokenSource_RenewsBeforeExpiry(t *testing.T) {
	for _, c := range []struct{ life, renew time.Duration }{
		{time.Hour, 55 * time.Minute},
		{4 * time.Minute, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			grant := numbered(c.life)
			k := newTokenSource(t, grant)
			wantToken(t, k, "token-1")
			pass(c.renew - time.Second)
			wantToken(t, k, "token-1")
			pass(time.Second)
			if grant.asked.Load() != 1 {
				t.Fatalf("renewed though nobody wanted it")
			}
			wantToken(t, k, "token-1")
			synctest.Wait()
			wantToken(t, k, "token-2")
		})
	}
}

func TestTokenSource_ReturnsNoExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTokenSource(t, numbered(time.Hour))
		wantToken(t, k, "token-1")
		pass(time.Hour)
		wantToken(t, k, "token-2")
	})
}

func TestTokenSource_ReturnsAValidTokenWhileTheIssuerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := &Fault{Kind: Wait, Text: "down"}
		k := newTokenSource(t, &source{token: func(_ context.Context, n int) (Token, error) {
			if n > 1 {
				return Token{}, fault
			}
			return lasting("token-1", time.Hour), nil
		}})
		for range 59 {
			wantToken(t, k, "token-1")
			pass(time.Minute)
		}
		pass(time.Minute)
		got := (*Fault)(nil)
		if _, err := k.Token(t.Context()); !errors.As(err, &got) || got.Text != "down" {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestTokenSource_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		k := newTokenSource(t, &source{token: func(context.Context, int) (Token, error) {
			at = append(at, time.Now())
			return Token{}, &Fault{Kind: Wait, Text: "down"}
		}})
		for range 3600 {
			fault := (*Fault)(nil)
			if _, err := k.Token(t.Context()); !errors.As(err, &fault) || fault.RetryAfter <= 0 {
				t.Fatalf("Token() = %v, want a fault that says when to ask again", err)
			}
			pass(time.Second)
		}
		if len(at) < 15 || len(at) > 25 {
			t.Errorf("asked %d times in an hour", len(at))
		}
		if first, last := at[1].Sub(at[0]), at[len(at)-1].Sub(at[len(at)-2]); first < 4*time.Second || first > 8*time.Second ||
			last < 4*time.Minute || last > 6*time.Minute+time.Second {
			t.Errorf("the pauses grew from %v to %v", first, last)
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
		k := newTokenSource(t, grant)
		for range 20 {
			if _, err := k.Token(t.Context()); err == nil {
				t.Fatal("a token though the issuer asked for patience")
			}
			pass(time.Minute)
		}
		wantToken(t, k, "token")
	})
}

func TestReject_ReplacesATokenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := numbered(time.Hour)
		k := newTokenSource(t, grant)
		first := wantToken(t, k, "token-1")
		k.Reject(first)
		k.Reject(first)
		second := wantToken(t, k, "token-2")
		k.Reject(first)
		wantToken(t, k, "token-2")
		for range 50 {
			k.Reject(second)
			wantToken(t, k, "token-2")
		}
		pass(minForcedInterval)
		k.Reject(second)
		wantToken(t, k, "token-3")
		if asked := grant.asked.Load(); asked != 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestReject_DoesNotLoopOnTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grant := &source{token: func(context.Context, int) (Token, error) { return lasting("same", time.Hour), nil }}
		k := newTokenSource(t, grant)
		for range 50 {
			k.Reject(wantToken(t, k, "same"))
		}
		if asked := grant.asked.Load(); asked != 2 {
			t.Errorf("asked %d times", asked)
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
		k := newTokenSource(t, grant)
		k.Reject(wantToken(t, k, "token-1"))
		if token, err := k.Token(t.Context()); err == nil {
			t.Errorf("got %q again", token.Bearer.Reveal())
		}
		for range 20 {
			wantToken(t, k, "token-1")
		}
		if asked := grant.asked.Load(); asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		pass(time.Minute)
		wantToken(t, k, "token-1")
		synctest.Wait()
		wantToken(t, k, "token-3")
	})
}

func TestReject_ReturnsTheIssuersConfigurationFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTokenSource(t, failingOnce(&Fault{Kind: Configuration, Text: "the application is disabled"}))
		k.Reject(wantToken(t, k, "token-1"))
		for range 2 {
			if token, err := k.Token(t.Context()); err == nil {
				t.Errorf("got %q again", token.Bearer.Reveal())
			}
		}
		pass(time.Minute)
		wantToken(t, k, "token-3")
	})
}

func TestTokenSource_HonoursEachContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		grant := &source{token: func(context.Context, int) (Token, error) {
			<-release
			return lasting("token", time.Hour), nil
		}}
		k := newTokenSource(t, grant)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := k.Token(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("Token() = %v after %v", err, time.Since(begun))
		}
		close(release)
		wantToken(t, k, "token")
		if asked := grant.asked.Load(); asked != 1 {
			t.Errorf("asked %d times: the request ended with its first waiter", asked)
		}
	})
}

func TestClose_CancelsTheCurrentRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewTokenSource(&source{token: func(ctx context.Context, _ int) (Token, error) {
			<-ctx.Done()
			return Token{}, ctx.Err()
		}}, nil)
		var waited error
		go func() { _, waited = k.Token(t.Context()) }()
		synctest.Wait()
		k.Close()
		synctest.Wait()
		if !errors.Is(waited, context.Canceled) {
			t.Errorf("the waiter got %v", waited)
		}
		if _, err := k.Token(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("Token() after Close = %v", err)
		}
	})
}

// countingObserver is an Observer that counts calls.
type countingObserver struct {
	good, bad atomic.Int32
	grant     atomic.Value
}

func (w *countingObserver) Requested(grant string, _ time.Duration, err error) {
	w.grant.Store(grant)
	if err != nil {
		w.bad.Add(1)
		return
	}
	w.good.Add(1)
}

func TestObserver_ReceivesEachRequest(t *testing.T) {
	server := serve(t, func(_ url.Values, n int) issuerResponse {
		return []issuerResponse{entraError(7000215, "invalid_client"), tokenResponse("access", "", 3600)}[n]
	})
	secret := must(newIssuer(t, server.Server, nil).ClientSecret(NewSecret("hush")))
	w := new(countingObserver)
	for range 2 {
		k := NewTokenSource(secret, w)
		k.Token(t.Context())
		k.Token(t.Context())
		k.Close()
	}
	if w.good.Load() != 1 || w.bad.Load() != 1 || w.grant.Load() != "client secret" {
		t.Errorf("got %d good and %d bad requests by %v", w.good.Load(), w.bad.Load(), w.grant.Load())
	}
}
