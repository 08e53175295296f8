// Package dkimkey stores the DKIM keys of the box and their rotation: the keys that sign,
// and beside them the next keys until they are published, or the old ones until their
// records may be removed.
//
// It knows protected keys, key records (RFC 6376 section 3.6.1) and the settings area. It
// must not know how a TPM is reached, how a record is looked up, or messages.
package dkimkey

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// section of the settings area.
const section = "dkim"

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Errors on which a person must act.
var (
	ErrNone       = fault.New(fault.NoDKIMKeys, "this box has no DKIM keys yet")
	ErrNext       = fault.New(fault.DKIMRotating, "the next DKIM keys are waiting to be published")
	ErrOld        = fault.New(fault.DKIMRotating, "the old DKIM keys are not retired yet")
	ErrNoOld      = fault.New(fault.DKIMRotated, "there are no old DKIM keys to retire")
	ErrInFlight   = fault.New(fault.DKIMInFlight, "mail that the old DKIM keys signed may still be on its way")
	errChanged    = errors.New("another command has changed the DKIM keys meanwhile: try again")
	errOutOfNames = errors.New("there are DKIM keys of this day with each letter already: try again tomorrow")
)

// InFlight is how long mail may be on its way after it was signed: servers retry for up to
// five days (RFC 5321 section 4.5.4.1).
const InFlight = 7 * 24 * time.Hour

// Algorithm is an algorithm of signatures, as in the tag k= (RFC 6376, RFC 8463).
type Algorithm string

// The algorithms.
const (
	RSA     Algorithm = "rsa"
	Ed25519 Algorithm = "ed25519"
)

// Key is one key of a set.
type Key struct {
	Algorithm Algorithm   `json:"algorithm"`
	Selector  string      `json:"selector"`
	Public    []byte      `json:"public"` // SubjectPublicKeyInfo
	Private   keyring.Key `json:"private"`
}

// Signer returns a signer. It does not use the TPM yet.
func (k Key) Signer(tpm hal.TPM) (crypto.Signer, error) {
	signer, err := keyring.Open(tpm, k.Private, []byte(k.Selector))
	if err != nil {
		return nil, fmt.Errorf("opening the DKIM key %s: %w", k.Selector, err)
	}
	if public, err := x509.MarshalPKIXPublicKey(signer.Public()); err != nil || string(public) != string(k.Public) {
		return nil, fmt.Errorf("opening the DKIM key %s: it does not belong to its record: rotate the keys", k.Selector)
	}
	return signer, nil
}

// Set is what was made together: one key for each algorithm.
type Set struct {
	Name      string    `json:"name"` // the selectors without their last letter
	Created   time.Time `json:"created"`
	Keys      []Key     `json:"keys"`
	Domains   []string  `json:"domains,omitempty"` // in which the records were found
	Activated time.Time `json:"activated,omitzero"`
	Replaced  time.Time `json:"replaced,omitzero"` // when other keys began to sign
}

// Keys are the stored keys. At most one of Next and Old is set.
type Keys struct {
	Active *Set `json:"active,omitempty"` // signs in its Domains; nil if none was published
	Next   *Set `json:"next,omitempty"`
	Old    *Set `json:"old,omitempty"`
}

// Pending returns the set whose records are to be published: the next one, or else the
// active one; nil if there are no keys.
func (k Keys) Pending() *Set {
	if k.Next != nil {
		return k.Next
	}
	return k.Active
}

// SigningDomain returns the one of domains that signs for an author: the author's, or the
// nearest above it, which DMARC accepts too (RFC 9989); empty for none.
func SigningDomain(author string, domains []string) (nearest string) {
	for _, domain := range domains {
		if (author == domain || strings.HasSuffix(author, "."+domain)) && len(domain) > len(nearest) {
			nearest = domain
		}
	}
	return nearest
}

// Load returns the stored keys; none is no error.
func Load(ctx context.Context, store Store) (Keys, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Keys{}, fmt.Errorf("reading the settings area: %w", err)
	}
	return read(sections)
}

func read(sections state.Sections) (k Keys, err error) {
	stored, found := sections[section]
	if !found {
		return Keys{}, nil
	}
	if err := json.Unmarshal(stored, &k); err != nil {
		return Keys{}, fmt.Errorf("reading the DKIM keys: %w", err)
	}
	return k, nil
}

// update changes the stored keys in one write.
func update(ctx context.Context, store Store, change func(*Keys) error) (keys Keys, err error) {
	var refused error
	err = store.Update(ctx, func(sections state.Sections) error {
		if keys, refused = read(sections); refused == nil {
			refused = change(&keys)
		}
		if refused != nil {
			return refused
		}
		encoded, err := json.Marshal(keys)
		if err != nil {
			return fmt.Errorf("encoding the DKIM keys: %w", err)
		}
		sections[section] = encoded
		return nil
	})
	if refused != nil {
		return Keys{}, refused
	}
	if err != nil {
		return Keys{}, fmt.Errorf("storing the DKIM keys: %w", err)
	}
	return keys, nil
}

// Generator makes a key that is protected as the settings require. binding is its
// selector: a key that is not resident in a TPM opens only with the same one.
type Generator func(ctx context.Context, algorithm Algorithm, binding []byte) (public crypto.PublicKey, key keyring.Key, err error)

// Rotate makes the next keys, which sign nothing until [Activate]. Their selectors consist
// of the prefix, the day of now, a letter, and a letter for the algorithm. With replace
// they replace next keys that were made before. The error is ErrNext or ErrOld while a
// rotation has not ended.
func Rotate(ctx context.Context, store Store, generate Generator, prefix string, algorithms []Algorithm, now time.Time, replace bool) (Keys, error) {
	before, err := Load(ctx, store)
	if err == nil {
		err = before.mayRotate(replace)
	}
	if err != nil {
		return Keys{}, err
	}
	next := &Set{Created: now.UTC().Truncate(time.Second)}
	if next.Name, err = before.newName(prefix, now); err != nil {
		return Keys{}, err
	}
	for _, algorithm := range algorithms {
		key := Key{Algorithm: algorithm, Selector: next.Name + "-" + string(algorithm)[:1]}
		var public crypto.PublicKey
		if public, key.Private, err = generate(ctx, algorithm, []byte(key.Selector)); err == nil {
			key.Public, err = x509.MarshalPKIXPublicKey(public)
		}
		if err != nil {
			return Keys{}, hal.Tried("making the DKIM key "+key.Selector, err)
		}
		next.Keys = append(next.Keys, key)
	}
	return update(ctx, store, func(k *Keys) error {
		if !sameName(k.Active, before.Active) || !sameName(k.Next, before.Next) || !sameName(k.Old, before.Old) {
			return errChanged
		}
		k.Next = next
		return nil
	})
}

func (k Keys) mayRotate(replace bool) error {
	switch {
	case k.Next != nil && !replace:
		return ErrNext.With("keys", k.Next.Name)
	case k.Old != nil:
		return ErrOld.With("keys", k.Old.Name)
	}
	return nil
}

// newName returns a name that no stored set has: a selector is never published with
// another key, which caches in DNS would not notice.
func (k Keys) newName(prefix string, now time.Time) (string, error) {
	for letter := 'a'; letter <= 'z'; letter++ {
		name := fmt.Sprintf("%s-%s%c", prefix, now.UTC().Format("20060102"), letter)
		if !slices.ContainsFunc([]*Set{k.Active, k.Next, k.Old}, func(s *Set) bool { return s != nil && s.Name >= name && strings.HasPrefix(s.Name, name[:len(name)-1]) }) {
			return name, nil
		}
	}
	return "", errOutOfNames
}

func sameName(a, b *Set) bool { return a == b || a != nil && b != nil && a.Name == b.Name }

// Activate makes the pending set sign for the domains, in which its caller has found its
// records published. Keys that signed before become the old ones.
func Activate(ctx context.Context, store Store, name string, domains []string, now time.Time) (Keys, error) {
	return update(ctx, store, func(k *Keys) error {
		switch pending := k.Pending(); {
		case pending == nil:
			return ErrNone
		case pending.Name != name:
			return errChanged
		}
		if k.Next != nil {
			if k.Active != nil {
				k.Active.Replaced = now.UTC().Truncate(time.Second)
			}
			k.Old, k.Active, k.Next = k.Active, k.Next, nil
			k.Active.Activated = now.UTC().Truncate(time.Second)
		}
		k.Active.Domains = slices.Clone(domains)
		return nil
	})
}

// Retire deletes the old keys, whose records may then be removed. The error is ErrNoOld,
// or ErrInFlight if they were replaced less than [InFlight] ago, except with force.
func Retire(ctx context.Context, store Store, now time.Time, force bool) (retired Set, err error) {
	_, err = update(ctx, store, func(k *Keys) error {
		if k.Old == nil {
			return ErrNoOld
		}
		if until := k.Old.Replaced.Add(InFlight); now.Before(until) && !force {
			return ErrInFlight.Wrap(fmt.Errorf("until %s", until.Format(time.DateTime)))
		}
		retired, k.Old = *k.Old, nil
		return nil
	})
	return retired, err
}
