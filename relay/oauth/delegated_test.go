package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// memoryStore is a Store in memory.
type memoryStore struct {
	mu      sync.Mutex
	stored  string
	saves   []string
	save    func(refresh string) error // called first, if it is not nil
	loadErr error
}

func (f *memoryStore) Load(context.Context) (Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return NewSecret(f.stored), f.loadErr
}

func (f *memoryStore) Save(ctx context.Context, refresh Secret) error {
	if f.save != nil {
		if err := f.save(refresh.Reveal()); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = refresh.Reveal()
	f.saves = append(f.saves, f.stored)
	return nil
}

func (f *memoryStore) Replace(ctx context.Context, before, refresh Secret) error {
	f.mu.Lock()
	changed := f.stored != before.Reveal()
	f.mu.Unlock()
	if changed {
		return nil
	}
	return f.Save(ctx, refresh)
}

// rotating issues access-N and refresh-N for each refresh token that it accepts.
func rotating(accepts func(refresh string) bool) func(url.Values, int) issuerResponse {
	return func(form url.Values, n int) issuerResponse {
		if form.Get("grant_type") != "refresh_token" || form.Get("client_id") != clientID || !accepts(form.Get("refresh_token")) {
			return entraError(700082, "invalid_grant")
		}
		return tokenResponse(fmt.Sprint("access-", n+1), fmt.Sprint("refresh-", n+1), 3600)
	}
}

func anything(string) bool { return true }

// received returns the refresh tokens that the issuer received, in order.
func received(a *fakeIssuer) []string {
	var all []string
	for _, form := range a.requests() {
		all = append(all, form.Get("refresh_token"))
	}
	return all
}

func TestDelegated_StoresTheRefreshTokenFirst(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &memoryStore{stored: "refresh-0"}
	saving, release := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(saving); <-release; return nil }
	k := newTokenSource(t, newIssuer(t, server.Server, nil).Delegated(store))
	tokens := make(chan Token, 1)
	go func() { tokens <- must(k.Token(t.Context())) }()
	<-saving
	select {
	case <-tokens:
		t.Error("got the access token before the refresh token was saved")
	default:
	}
	close(release)
	if token := <-tokens; token.Bearer.Reveal() != "access-1" || store.stored != "refresh-1" {
		t.Errorf("got token %q, stored %q", token.Bearer.Reveal(), store.stored)
	}
}

func TestDelegated_DoesNotSaveAnUnchangedToken(t *testing.T) {
	for name, refresh := range map[string]string{"repeated": "refresh-0", "left out": ""} {
		server := serve(t, respondInTurn(tokenResponse("access", refresh, 3600)))
		store := &memoryStore{stored: "refresh-0"}
		if _, err := newIssuer(t, server.Server, nil).Delegated(store).Token(t.Context()); err != nil || len(store.saves) != 0 {
			t.Errorf("%s: got %v, saved %q, want nothing saved", name, err, store.saves)
		}
	}
}

var errFlash = errors.New("the flash is read-only")

func TestDelegated_FailsWhenTheRefreshTokenCannotBeSaved(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &memoryStore{stored: "refresh-0", save: func(string) error { return errFlash }}
	d := newIssuer(t, server.Server, nil).Delegated(store)
	for range 3 {
		token, err := d.Token(t.Context())
		wantFault(t, err, Configuration, "", "is not used", "check the box's flash", "read-only")
		if !errors.Is(err, errFlash) || !token.Bearer.Empty() {
			t.Errorf("got token %q, %v", token.Bearer.Reveal(), err)
		}
	}
	if requests := len(server.requests()); requests != 1 {
		t.Errorf("got %d requests while nothing could be saved", requests)
	}
	store.save = nil
	if token := must(d.Token(t.Context())); token.Bearer.Reveal() != "access-2" {
		t.Errorf("got %q, want %q", token.Bearer.Reveal(), "access-2")
	}
	if got := received(server); !slices.Equal(got, []string{"refresh-0", "refresh-1"}) || !slices.Equal(store.saves, []string{"refresh-1", "refresh-2"}) {
		t.Errorf("got refresh tokens %q at the issuer, saved %q", got, store.saves)
	}
}

func TestDelegated_TriesTheOldTokenAfterAFailedSave(t *testing.T) {
	server := serve(t, rotating(func(refresh string) bool { return refresh == "refresh-0" }))
	store := &memoryStore{stored: "refresh-0", save: func(string) error { return errFlash }}
	d := newIssuer(t, server.Server, nil).Delegated(store)
	if _, err := d.Token(t.Context()); !errors.Is(err, errFlash) {
		t.Fatalf("got %v, want %v", err, errFlash)
	}
	store.save = nil
	if token := must(d.Token(t.Context())); token.Bearer.Reveal() != "access-3" || store.stored != "refresh-3" {
		t.Errorf("got token %q, stored %q", token.Bearer.Reveal(), store.stored)
	}
	if got := received(server); !slices.Equal(got, []string{"refresh-0", "refresh-1", "refresh-0"}) {
		t.Errorf("got refresh tokens %q at the issuer", got)
	}
}

func TestDelegated_PrefersANewSignIn(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &memoryStore{stored: "refresh-0", save: func(string) error { return errFlash }}
	d := newIssuer(t, server.Server, nil).Delegated(store)
	if _, err := d.Token(t.Context()); !errors.Is(err, errFlash) {
		t.Fatalf("got %v, want %v", err, errFlash)
	}
	store.save, store.stored = nil, "of the sign-in"
	must(d.Token(t.Context()))
	if got := received(server); !slices.Equal(got, []string{"refresh-0", "of the sign-in"}) {
		t.Errorf("got refresh tokens %q at the issuer", got)
	}
}

// cutPower requests a token with a store that never finishes a write, and returns the
// store for the next start.
func cutPower(t *testing.T, server *fakeIssuer) *memoryStore {
	store := &memoryStore{stored: "refresh-0"}
	writing, cut := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(writing); <-cut; return errors.New("no power") }
	var before sync.WaitGroup
	d := newIssuer(t, server.Server, nil).Delegated(store)
	before.Go(func() {
		if token, err := d.Token(t.Context()); err == nil {
			t.Errorf("got token %q, want none", token.Bearer.Reveal())
		}
	})
	<-writing
	t.Cleanup(func() { close(cut); before.Wait() })
	return &memoryStore{stored: store.stored}
}

func TestDelegated_KeepsTheOldTokenAfterAPowerCut(t *testing.T) {
	server := serve(t, rotating(anything))
	after := cutPower(t, server)
	token, err := newIssuer(t, server.Server, nil).Delegated(after).Token(t.Context())
	if err != nil || token.Bearer.Reveal() != "access-2" || after.stored != "refresh-2" {
		t.Errorf("got token %q, %v, stored %q", token.Bearer.Reveal(), err, after.stored)
	}
}

func TestDelegated_AsksForASignInWhenTheTokenIsRevoked(t *testing.T) {
	var used []string
	server := serve(t, rotating(func(refresh string) bool {
		first := !slices.Contains(used, refresh)
		used = append(used, refresh)
		return first
	}))
	after := cutPower(t, server)
	_, err := newIssuer(t, server.Server, nil).Delegated(after).Token(t.Context())
	wantFault(t, err, Configuration, "AADSTS700082", "sign in again")
}

func TestDelegated_KeepsASignInMadeMeanwhile(t *testing.T) {
	store := &memoryStore{stored: "refresh-0"}
	server := serve(t, rotating(func(string) bool {
		_ = store.Save(t.Context(), NewSecret("of a new sign-in")) // by another process
		return true
	}))
	token, err := newIssuer(t, server.Server, nil).Delegated(store).Token(t.Context())
	if err != nil || token.Bearer.Empty() || store.stored != "of a new sign-in" {
		t.Errorf("got token %q, %v, stored %q", token.Bearer.Reveal(), err, store.stored)
	}
}

func TestDelegated_AsksForASignInWithoutAToken(t *testing.T) {
	server := serve(t, rotating(anything))
	_, err := newIssuer(t, server.Server, nil).Delegated(new(memoryStore)).Token(t.Context())
	wantFault(t, err, Configuration, "", "the box is not signed in")
	_, err = newIssuer(t, server.Server, nil).Delegated(&memoryStore{loadErr: errFlash}).Token(t.Context())
	if !errors.Is(err, errFlash) {
		t.Errorf("got %v, want %v", err, errFlash)
	}
	wantFault(t, err, Configuration, "", "reading the stored sign-in failed")
	if len(server.requests()) != 0 {
		t.Error("got a request, want none")
	}
}

func TestClose_WaitsForTheRefreshTokenToBeSaved(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &memoryStore{stored: "refresh-0"}
	saving, release := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(saving); <-release; return nil }
	k := NewTokenSource(newIssuer(t, server.Server, nil).Delegated(store), nil)
	go k.Token(t.Context())
	<-saving
	closed := make(chan struct{})
	go func() { k.Close(); close(closed) }()
	<-k.ctx.Done()
	close(release)
	<-closed
	if store.stored != "refresh-1" {
		t.Errorf("got %q stored, want refresh-1", store.stored)
	}
}
