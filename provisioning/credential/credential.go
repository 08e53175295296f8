// Package credential stores the credentials for access tokens: the client secret
// that a person entered, and the refresh token of a sign-in. Both are sealed in
// the settings area.
//
// It knows the settings area and how a secret is sealed. It must not know how a
// token is requested, or how a TPM is reached.
package credential

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// Kind is a kind of credential, and its section of the settings area.
type Kind string

// The kinds.
const (
	ClientSecret Kind = "client secret"
	RefreshToken Kind = "refresh token"
)

// MaxSize is the largest credential, in bytes.
const MaxSize = 64 << 10

// ErrNone is returned if there is no credential of the kind for the application;
// one of another application does not count.
var ErrNone = errors.New("there is none stored for this application")

// Store is the settings area. Update is atomic, and flushed when it returns.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Application is the owner of the credentials.
type Application struct {
	Issuer   string // its token endpoint
	ClientID string
}

// Of returns the application in the settings.
func Of(s settings.Settings) Application {
	o := s.Issuer()
	return Application{Issuer: string(o.TokenURL), ClientID: o.ClientID}
}

// Vault stores the credentials of one application.
type Vault struct {
	Store       Store
	Sealer      keyring.Sealer
	Application Application
}

// name binds a sealed credential to its application.
func (v Vault) name(kind Kind) string {
	return fmt.Sprintf("%s of %q at %q", kind, v.Application.ClientID, v.Application.Issuer)
}

// Load returns a credential, or ErrNone; the caller wipes it.
func (v Vault) Load(ctx context.Context, kind Kind) ([]byte, error) {
	secret, _, err := v.open(ctx, kind)
	return secret, err
}

// open returns a credential and its stored form.
func (v Vault) open(ctx context.Context, kind Kind) (secret, stored []byte, err error) {
	sections, err := v.Store.Load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the settings area: %w", err)
	}
	stored, found := sections[string(kind)]
	if !found {
		return nil, nil, ErrNone
	}
	var sealed keyring.Secret
	if err := json.Unmarshal(stored, &sealed); err != nil {
		return nil, nil, fmt.Errorf("reading the stored %s: it is damaged, enter it again: %w", kind, err)
	}
	if sealed.Name != v.name(kind) {
		return nil, nil, ErrNone
	}
	secret, err = v.Sealer.Open(ctx, v.name(kind), sealed)
	if errors.Is(err, keyring.ErrDamaged) {
		return nil, stored, fmt.Errorf("reading the stored %s: it is damaged, enter it again: %w", kind, err)
	}
	return secret, stored, err
}

// Save replaces the stored credential, also that of another application. When it returns
// without an error, the new one is durable; after a power cut either the old or
// the new one is stored completely.
func (v Vault) Save(ctx context.Context, kind Kind, secret []byte) error {
	sealed, err := v.Seal(ctx, kind, secret)
	if err != nil {
		return err
	}
	if err := v.Store.Update(ctx, sealed.Put); err != nil {
		return fmt.Errorf("storing the %s: %w", kind, err)
	}
	return nil
}

// ErrChanged is returned by Replace if another credential than the expected one is
// stored.
var ErrChanged = errors.New("another credential was stored meanwhile")

// Replace saves a credential if before is still the stored one; otherwise it
// returns ErrChanged.
func (v Vault) Replace(ctx context.Context, kind Kind, before, secret []byte) error {
	opened, stored, err := v.open(ctx, kind)
	if err != nil {
		return err
	}
	same := subtle.ConstantTimeCompare(opened, before) == 1
	clear(opened)
	if !same {
		return ErrChanged
	}
	sealed, err := v.Seal(ctx, kind, secret)
	if err != nil {
		return err
	}
	err = v.Store.Update(ctx, func(sections state.Sections) error {
		if !bytes.Equal(sections[string(kind)], stored) {
			return ErrChanged
		}
		return sealed.Put(sections)
	})
	if err != nil {
		return fmt.Errorf("storing the %s: %w", kind, err)
	}
	return nil
}

// Sealed is a sealed credential, for a write with other sections.
type Sealed struct {
	kind    Kind
	encoded []byte
}

// Seal seals a credential; it stores nothing.
func (v Vault) Seal(ctx context.Context, kind Kind, secret []byte) (Sealed, error) {
	if len(secret) == 0 || len(secret) > MaxSize {
		return Sealed{}, fmt.Errorf("the %s has %d bytes; between 1 and %d are allowed: check what was entered", kind, len(secret), MaxSize)
	}
	sealed, err := v.Sealer.Seal(ctx, v.name(kind), secret)
	if err != nil {
		return Sealed{}, err
	}
	encoded, err := json.Marshal(sealed)
	if err != nil {
		return Sealed{}, fmt.Errorf("encoding the %s: %w", kind, err)
	}
	return Sealed{kind, encoded}, nil
}

// Put writes the credential into the sections.
func (s Sealed) Put(sections state.Sections) error {
	sections[string(s.kind)] = s.encoded
	return nil
}
