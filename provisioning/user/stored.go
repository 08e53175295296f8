package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// Section is the users' section of the settings area.
const Section = "users"

// Loader is the settings area.
type Loader interface {
	Load(ctx context.Context) (state.Sections, error)
}

// record is the stored form of a user.
type record struct {
	User
	Hash hash `json:"hash"`
	// Sealed is the password for CRAM-MD5, which needs more than a hash.
	Sealed *keyring.Secret `json:"sealed,omitempty"`
}

// secretName binds a sealed password to its user.
func secretName(name string) string { return fmt.Sprintf("user %q", nameKey(name)) }

// read returns the stored users by the key of their name.
func read(sections state.Sections) (map[string]record, error) {
	stored, found := sections[Section]
	users := make(map[string]record)
	if !found {
		return users, nil
	}
	var list []record
	if err := json.Unmarshal(stored, &list); err != nil {
		return nil, fmt.Errorf("reading the stored users: %w: add the users again", err)
	}
	for _, r := range list {
		users[nameKey(r.Name)] = r
	}
	return users, nil
}

// sorted returns the users in the order of their names.
func sorted(users map[string]record) []record {
	var list []record
	for _, name := range slices.Sorted(maps.Keys(users)) {
		list = append(list, users[name])
	}
	return list
}

// Load returns the stored users in the order of their names.
func Load(ctx context.Context, store Loader) ([]User, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	stored, err := read(sections)
	var users []User
	for _, r := range sorted(stored) {
		users = append(users, r.User)
	}
	return users, err
}

// Prepared are changes whose passwords are hashed and sealed.
type Prepared struct {
	changes []Change // without passwords
	records []record
}

// Prepare hashes the passwords, and seals those for CRAM-MD5. It stores nothing.
func Prepare(ctx context.Context, sealer keyring.Sealer, changes []Change) (Prepared, error) {
	if err := Check(changes); err != nil {
		return Prepared{}, err
	}
	var p Prepared
	for _, c := range changes {
		r := record{User: c.User}
		if !c.Remove {
			r.Hash = newHash(string(c.Password))
		}
		if !c.Remove && c.CRAMMD5 {
			sealed, err := sealer.Seal(ctx, secretName(c.Name), []byte(c.Password))
			if err != nil {
				return Prepared{}, fmt.Errorf("protecting the password of the user %q: %w", c.Name, err)
			}
			r.Sealed = &sealed
		}
		c.Password = ""
		p.changes, p.records = append(p.changes, c), append(p.records, r)
	}
	return p, nil
}

// errTooMany is returned if the users do not fit.
var errTooMany = fmt.Errorf("a box has at most %d users: remove one first, or let several devices log in as the same", MaxUsers)

// Put makes the changes in the sections.
func (p Prepared) Put(sections state.Sections) error {
	users, err := read(sections)
	if err != nil {
		if slices.ContainsFunc(p.changes, func(c Change) bool { return c.Remove }) {
			return err
		}
		users = make(map[string]record) // they cannot be used, and are added again
	}
	for i, c := range p.changes {
		before, exists := users[nameKey(c.Name)]
		switch {
		case c.Remove && !exists:
			return ErrNone.With("name", c.Name)
		case c.Remove:
			delete(users, nameKey(c.Name))
			continue
		case exists && !c.Replace:
			return ErrExists.With("name", c.Name)
		}
		r := p.records[i]
		if exists && c.Keep {
			r.Clients, r.Senders, r.Recipients = before.Clients, before.Senders, before.Recipients
		}
		users[nameKey(c.Name)] = r
	}
	if len(users) > MaxUsers {
		return errTooMany
	}
	if len(users) == 0 {
		delete(sections, Section)
		return nil
	}
	encoded, err := json.Marshal(sorted(users))
	if err != nil {
		return fmt.Errorf("encoding the users: %w", err)
	}
	if len(encoded) > maxSection {
		return errors.New("the users need more room than the box has for them: bind them to domains instead of addresses, or remove some")
	}
	sections[Section] = encoded
	return nil
}
