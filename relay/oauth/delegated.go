package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// Store stores the refresh token of a sign-in durably. Its methods must honour
// their context.
type Store interface {
	// Load returns the stored token, or an empty Secret.
	Load(ctx context.Context) (Secret, error)
	// Save replaces the stored token atomically and returns once that is
	// durable.
	Save(ctx context.Context, refresh Secret) error
	// Replace saves refresh as the successor of before. If another token than
	// before is stored, it belongs to a new sign-in made elsewhere and is kept.
	Replace(ctx context.Context, before, refresh Secret) error
}

// saveTimeout limits a write to flash.
const saveTimeout = 30 * time.Second

// Delegated is the grant of a user who signed in once (RFC 6749 section 6, RFC
// 8628): the box acts for that account.
//
// A refresh may return a new refresh token. It is stored durably before the
// access token is used, so that the box never depends on a token that a power
// cut would lose. A power cut between the issuer's response and the store
// leaves the previous token. Entra ID still accepts that: it does not revoke a
// refresh token on use. An issuer that does (RFC 9700 section 4.14.2) without a
// grace period returns invalid_grant, and the fault asks for a new sign-in; no
// order of steps on this side can prevent that.
type Delegated struct {
	issuer *Issuer
	store  Store
	lock   chan struct{} // holds a value while a refresh or sign-in runs

	// unsaved is a refresh token that could not be saved, and replaced the token
	// before it. Both are guarded by lock.
	unsaved, replaced Secret
}

// Delegated returns the grant of the stored sign-in.
func (i *Issuer) Delegated(store Store) *Delegated {
	return &Delegated{issuer: i, store: store, lock: make(chan struct{}, 1)}
}

// Name implements Grant.
func (d *Delegated) Name() string { return "refresh token" }

// Token implements Grant.
func (d *Delegated) Token(ctx context.Context) (Token, error) {
	if err := d.acquire(ctx); err != nil {
		return Token{}, err
	}
	defer d.release()
	candidates, err := d.candidates(ctx)
	if err != nil {
		return Token{}, err
	}
	for n, refresh := range candidates {
		token, next, err := d.issuer.refresh(ctx, refresh)
		if refused := (*Fault)(nil); errors.As(err, &refused) && refused.invalidGrant && n+1 < len(candidates) {
			continue
		}
		if err != nil {
			return Token{}, err
		}
		if err := d.storeNext(ctx, candidates[0], next); err != nil {
			return Token{}, err
		}
		return token, nil
	}
	return Token{}, errNotSignedIn()
}

// acquire takes the lock: a refresh that began before a sign-in must not
// overwrite its token.
func (d *Delegated) acquire(ctx context.Context) error {
	select {
	case d.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another use of the sign-in: %w", context.Cause(ctx))
	}
}

func (d *Delegated) release() { <-d.lock }

// candidates returns the refresh tokens to try, in order; the first is stored.
// An unsaved token is saved first or the refresh fails, so that the issuer
// issues no more tokens than can be stored.
func (d *Delegated) candidates(ctx context.Context) ([]Secret, error) {
	stored, err := d.store.Load(ctx)
	if err != nil {
		return nil, &Fault{Kind: Configuration, Text: "reading the stored sign-in failed: check the box's flash, then " + signInAgainText, Err: err}
	}
	// A stored token other than replaced belongs to a new sign-in.
	if d.unsaved.Empty() || !stored.Equal(d.replaced) {
		d.unsaved, d.replaced = Secret{}, Secret{}
		if stored.Empty() {
			return nil, errNotSignedIn()
		}
		return []Secret{stored}, nil
	}
	if err := d.replaceStored(ctx, stored, d.unsaved); err != nil {
		return nil, err
	}
	both := []Secret{d.unsaved, stored}
	d.unsaved, d.replaced = Secret{}, Secret{}
	return both, nil
}

func errNotSignedIn() *Fault {
	return &Fault{Kind: Configuration, Text: "the box is not signed in: sign in with a device code"}
}

// storeNext replaces the stored refresh token by the next one.
func (d *Delegated) storeNext(ctx context.Context, stored, next Secret) error {
	if next.Equal(stored) {
		return nil
	}
	err := d.replaceStored(ctx, stored, next)
	if err != nil {
		d.unsaved, d.replaced = next, stored
	}
	return err
}

func (d *Delegated) replaceStored(ctx context.Context, stored, next Secret) error {
	return saveDurably(ctx, func(ctx context.Context) error { return d.store.Replace(ctx, stored, next) })
}

// saveDurably ignores cancellation: the issuer has already responded, and a
// caller that stops waiting must not lose the sign-in.
func saveDurably(ctx context.Context, save func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := save(ctx); err != nil {
		return &Fault{Kind: Configuration, Text: "storing the new refresh token failed, so its access token is not used: check the box's flash", Err: err}
	}
	return nil
}

// refresh returns an access token and the next refresh token, which is the same
// if the issuer returned no other.
func (i *Issuer) refresh(ctx context.Context, refresh Secret) (Token, Secret, error) {
	x, ctx := i.exchange(ctx)
	return x.token(i.public().TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()}).Token())
}
