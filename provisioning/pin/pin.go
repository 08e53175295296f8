// Package pin hashes and compares the PIN of the console.
//
// It knows the stored form of a PIN. It must not know where it is stored, or who
// asks for it.
//
// Anyone with a copy of the flash can guess a PIN of a few digits: it protects the
// console from passers-by, not the storage.
package pin

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	shortest, longest = 4, 16 // digits
	saltSize          = 16
	// rounds take a few tenths of a second on a Raspberry Pi.
	rounds = 100_000
)

// ErrForm is returned for an invalid PIN.
var ErrForm = fmt.Errorf("a PIN consists of %d to %d digits", shortest, longest)

// record is the stored form.
type record struct {
	Salt   []byte `json:"salt"`
	Rounds int    `json:"rounds"`
	Digest []byte `json:"digest"` // PBKDF2-HMAC-SHA-256, RFC 8018 section 5.2
}

// Seal returns the stored form of a PIN, or ErrForm.
func Seal(digits string) ([]byte, error) {
	if len(digits) < shortest || len(digits) > longest {
		return nil, ErrForm
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return nil, ErrForm
		}
	}
	r := record{Salt: make([]byte, saltSize), Rounds: rounds}
	_, _ = rand.Read(r.Salt)
	var err error
	if r.Digest, err = derive(digits, r); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// Matches reports whether digits are the stored PIN.
func Matches(stored []byte, digits string) (bool, error) {
	var r record
	if err := json.Unmarshal(stored, &r); err != nil {
		return false, fmt.Errorf("reading the stored PIN: %w", err)
	}
	if len(r.Digest) == 0 || r.Rounds < 1 || r.Rounds > 100*rounds {
		return false, errors.New("the stored PIN is damaged: reset the box to its factory state")
	}
	if len(digits) > longest {
		return false, nil
	}
	got, err := derive(digits, r)
	return subtle.ConstantTimeCompare(got, r.Digest) == 1, err
}

func derive(digits string, r record) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, digits, r.Salt, r.Rounds, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the digest of the PIN: %w", err)
	}
	return key, nil
}
