package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// Store keeps the refresh token of a sign-in through power cuts. Its methods
// must heed their context.
type Store interface {
	// Load gives what was saved last, or an empty Secret.
	Load(ctx context.Context) (Secret, error)
	// Save replaces it, whole or not at all, and returns when that is durable.
	Save(ctx context.Context, refresh Secret) error
	// Replace is Save for what came in the place of before. Where another than
	// that is stored it is of a new sign-in, made elsewhere, and stays.
	Replace(ctx context.Context, before, refresh Secret) error
}

// saveTimeout bounds a write to flash, which nothing else ends.
const saveTimeout = 30 * time.Second

// Delegated is the grant of somebody who signed in once (RFC 6749, 6, and RFC
// 8628): the box acts for that account.
//
// Each refresh token may come with its successor. The successor is durable
// before anybody gets the access token that came with it, so the box never
// works on what a power cut would take away. A cut between the issuer's answer
// and the store leaves the one before. Entra ID still accepts that: it does
// not revoke a refresh token for having been used. An issuer that does (RFC
// 9700, 4.14.2), without a time of grace, answers invalid_grant, and the fault
// asks for a new sign-in: no order of steps on this side can prevent that.
type Delegated struct {
	issuer *Issuer
	store  Store
	lock   chan struct{} // holds a value while one refreshes or signs in

	// unsaved is a successor that could not be saved, and replaced the token it
	// succeeds. Whoever has the turn may use them.
	unsaved, replaced Secret
}

// Delegated gives the grant of the sign-in that the store keeps.
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

// acquire waits for the turn: a refresh that began before a sign-in must not save
// its token over that of the sign-in.
func (d *Delegated) acquire(ctx context.Context) error {
	select {
	case d.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another use of the sign-in: %w", context.Cause(ctx))
	}
}

func (d *Delegated) release() { <-d.lock }

// candidates are the refresh tokens to try, in order. The first is the stored
// one: a successor left unsaved is saved now, or nobody is asked, so that the
// issuer gives out no more of them than can be kept.
func (d *Delegated) candidates(ctx context.Context) ([]Secret, error) {
	stored, err := d.store.Load(ctx)
	if err != nil {
		return nil, &Fault{Kind: Configuration, Words: "the stored sign-in cannot be read: check the box's flash, then " + signInAgainText, Err: err}
	}
	// A stored one that is another than was replaced is of a new sign-in.
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
	return &Fault{Kind: Configuration, Words: "nobody has signed this box in: sign in with a device code"}
}

// storeNext puts the next refresh token in place of the stored one.
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

// saveDurably outlasts the context: the issuer has answered already, and who stops
// waiting should not cost the box its sign-in.
func saveDurably(ctx context.Context, save func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := save(ctx); err != nil {
		return &Fault{Kind: Configuration, Words: "the new refresh token cannot be stored, so the access token that came with it is not used: check the box's flash", Err: err}
	}
	return nil
}

// refresh gets an access token, and the refresh token for the next time: the
// same one where the issuer gave no other.
func (i *Issuer) refresh(ctx context.Context, refresh Secret) (Token, Secret, error) {
	x, ctx := i.exchange(ctx)
	return x.token(i.public().TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()}).Token())
}
