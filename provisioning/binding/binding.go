// Package binding shows whether values in the settings area were stored by this
// box. Each value gets an HMAC under a key that only the box's TPM unseals: the area
// itself has a checksum, which anybody who writes to the card can compute.
//
// It must not know what a value means, or how a TPM is reached. It cannot tell that
// the whole area was replaced by an older copy.
package binding

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// Section of the settings area, and the secret's name.
const Section = "binding"

// stored is the section's content.
type stored struct {
	Key  keyring.Secret      `json:"key"`
	MACs map[string][][]byte `json:"macs"` // by the name of the value
}

func read(sections state.Sections) (s stored, err error) {
	content, found := sections[Section]
	if !found {
		return s, nil
	}
	if err := json.Unmarshal(content, &s); err != nil {
		return s, fmt.Errorf("reading the binding of the settings: %w", err)
	}
	return s, nil
}

// ErrNone is returned if nothing was ever bound.
var ErrNone = errors.New("nothing in the settings area is bound to this box")

// Key computes the MACs of values. It does not print itself. A nil Key binds nothing.
type Key struct {
	sealed keyring.Secret
	clear  []byte
}

// Format implements fmt.Formatter: the key must not be printed.
func (*Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "(a key)") }

// Open returns the key in the sections, or ErrNone. It uses the TPM once.
func Open(ctx context.Context, sections state.Sections, sealer keyring.Sealer) (*Key, error) {
	s, err := read(sections)
	if err != nil {
		return nil, err
	}
	if s.Key.Name == "" {
		return nil, ErrNone
	}
	clear, err := sealer.Open(ctx, Section, s.Key)
	if err != nil {
		return nil, hal.Tried("opening the key that binds the settings to this box", err)
	}
	return &Key{s.Key, clear}, nil
}

// New returns a new key, which Bind stores; nil if the box stores its keys in clear
// text. It uses the TPM once.
func New(ctx context.Context, sealer keyring.Sealer) (*Key, error) {
	clear := make([]byte, sha256.Size)
	_, _ = rand.Read(clear)
	sealed, err := sealer.Seal(ctx, Section, clear)
	if err != nil {
		return nil, hal.Tried("creating the key that binds the settings to this box", err)
	}
	if sealed.Protection == keyring.File {
		return nil, nil
	}
	return &Key{sealed, clear}, nil
}

func (k *Key) mac(name string, value []byte) []byte {
	h := hmac.New(sha256.New, k.clear)
	_, _ = fmt.Fprintf(h, "%d %s %d ", len(name), name, len(value))
	h.Write(value)
	return h.Sum(nil)
}

// Release unbinds the values of that name.
func Release(sections state.Sections, name string) error {
	s, err := read(sections)
	if err != nil || s.Key.Name == "" {
		delete(sections, Section)
		return nil
	}
	delete(s.MACs, name)
	sections[Section], err = json.Marshal(s)
	return err
}

// Bind binds value, besides the values of that name that are bound already.
func (k *Key) Bind(sections state.Sections, name string, value []byte) error {
	if k == nil {
		return nil
	}
	s, err := read(sections)
	if err != nil || s.MACs == nil {
		s.MACs = map[string][][]byte{}
	}
	s.Key, s.MACs[name] = k.sealed, append(s.MACs[name], k.mac(name, value))
	sections[Section], err = json.Marshal(s)
	return err
}

// Holds reports whether value is a bound value of that name.
func (k *Key) Holds(sections state.Sections, name string, value []byte) bool {
	s, err := read(sections)
	if err != nil || k == nil {
		return false
	}
	for _, mac := range s.MACs[name] {
		if hmac.Equal(mac, k.mac(name, value)) {
			return true
		}
	}
	return false
}
