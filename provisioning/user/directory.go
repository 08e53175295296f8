package user

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
)

const (
	// checkInterval is how long a change of the stored users may go unnoticed.
	checkInterval = 2 * time.Second
	// loadTimeout limits the wait for another process that changes the settings area.
	loadTimeout = 2 * time.Second
	// maxHashes is how many hashes run at once: each needs memory and a core.
	maxHashes = 2
)

// Store is the settings area. Version is another one after each change; it is cheap.
type Store interface {
	Loader
	Version() (string, error)
}

// Directory answers for the stored users in a running relay. It notices changes by
// other processes within seconds, and is safe for concurrent use.
type Directory struct {
	store  Store
	sealer keyring.Sealer
	report func(error)
	hashes chan struct{}
	secret []byte // the key of remembered
	decoy  hash

	mu      sync.Mutex // held while the settings area is read, never while hashing
	checked time.Time
	version string
	users   map[string]record
	failure string // the last one that was reported
	// remembered holds a MAC of the right password of those who logged in, so that a
	// device that logs in for each message costs one hash.
	remembered map[string][]byte
	// unsealed holds passwords for CRAM-MD5, by the salt of their hash.
	unsealed map[string][]byte
}

// NewDirectory returns the directory of the users in store. report is called for each
// new reason why the users or a password cannot be read.
func NewDirectory(store Store, sealer keyring.Sealer, report func(error)) *Directory {
	d := &Directory{store: store, sealer: sealer, report: report, hashes: make(chan struct{}, maxHashes), secret: make([]byte, sha256.Size), decoy: decoy()}
	_, _ = rand.Read(d.secret)
	return d
}

// Format implements fmt.Formatter: the directory holds passwords.
func (*Directory) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "(the users)") }

// refresh reads the users again if they may have changed. After an error those read
// before stay in use. The caller holds mu.
func (d *Directory) refresh() {
	if !d.checked.IsZero() && time.Since(d.checked) < checkInterval {
		return
	}
	d.checked = time.Now()
	// The version is read first: a change meanwhile is noticed the next time.
	version, err := d.store.Version()
	if err == nil && version == d.version && d.users != nil {
		return
	}
	var users map[string]record
	if err == nil {
		users, err = d.load()
	}
	if err != nil {
		d.fail(err)
		return
	}
	d.version, d.users, d.failure = version, users, ""
	d.forget()
}

// forget forgets what is known of users that no longer exist. What remains is of no use
// with another stored hash. The caller holds mu.
func (d *Directory) forget() {
	remembered, unsealed := make(map[string][]byte), make(map[string][]byte)
	for name, r := range d.users {
		if mac, found := d.remembered[name]; found {
			remembered[name] = mac
		}
		if password, found := d.unsealed[string(r.Hash.Salt)]; found {
			unsealed[string(r.Hash.Salt)] = password
		}
	}
	d.remembered, d.unsealed = remembered, unsealed
}

func (d *Directory) load() (map[string]record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	sections, err := d.store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	return read(sections)
}

// fail reports a failure once. The caller holds mu.
func (d *Directory) fail(err error) {
	if text := err.Error(); text != d.failure {
		d.failure = text
		d.report(err)
	}
}

// find returns a user.
func (d *Directory) find(name string) (record, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	r, found := d.users[nameKey(name)]
	return r, found
}

// Lookup returns the user of this name.
func (d *Directory) Lookup(name string) (User, bool) {
	r, found := d.find(name)
	return r.User, found
}

// PasswordVersion returns a text that is another one after each change of the user's
// password, and says nothing about it; empty if there is no such user.
func (d *Directory) PasswordVersion(name string) string {
	r, _ := d.find(name)
	return hex.EncodeToString(r.Hash.Salt)
}

// Empty reports that there are no users, so that nobody can log in.
func (d *Directory) Empty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	return len(d.users) == 0
}

// Clients returns the networks from which users may log in who have networks of their own.
func (d *Directory) Clients() (networks []netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	for _, r := range d.users {
		networks = append(networks, r.Clients...)
	}
	return networks
}

// OffersCRAM reports whether a user may log in by CRAM-MD5.
func (d *Directory) OffersCRAM() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	for _, r := range d.users {
		if r.Sealed != nil {
			return true
		}
	}
	return false
}

// Authenticate reports whether this is the user's password. An unknown name takes as
// long as a wrong password. It returns false when ctx ends first.
func (d *Directory) Authenticate(ctx context.Context, name, password string) bool {
	r, known := d.find(name)
	if len(password) > maxPassword {
		return false
	}
	if !known {
		r.Hash = d.decoy
	}
	mac := d.mac(r, password)
	if d.recalls(name, mac) {
		return true
	}
	select {
	case d.hashes <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-d.hashes }()
	// One of those that waited may be the same device, with the same password.
	if d.recalls(name, mac) {
		return true
	}
	right := r.Hash.matches(password)
	if !right || !known {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remembered[nameKey(name)] = mac
	return true
}

// mac identifies a password of one stored user; another stored hash gives another MAC.
func (d *Directory) mac(r record, password string) []byte {
	h := hmac.New(sha256.New, d.secret)
	h.Write(r.Hash.Salt)
	h.Write(r.Hash.Digest)
	h.Write([]byte(password))
	return h.Sum(nil)
}

func (d *Directory) recalls(name string, mac []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	remembered, found := d.remembered[nameKey(name)]
	return found && hmac.Equal(remembered, mac)
}

// AnswersChallenge reports whether digest is the right answer to a challenge of CRAM-MD5
// (RFC 2195 section 2): its 16 octets, or their 32 hexadecimal digits as a client sends
// them. The first answer of each user waits for the TPM.
func (d *Directory) AnswersChallenge(ctx context.Context, name string, challenge, digest []byte) bool {
	r, known := d.find(name)
	password := d.secret // of a name without one, for an equal amount of work
	known = known && r.Sealed != nil
	if known {
		unsealed, err := d.open(ctx, r)
		if err != nil {
			return false
		}
		password = unsealed
	}
	if len(digest) == hex.EncodedLen(md5.Size) {
		decoded, err := hex.DecodeString(string(digest))
		if err != nil {
			return false
		}
		digest = decoded
	}
	h := hmac.New(md5.New, password)
	h.Write(challenge)
	return hmac.Equal(h.Sum(nil), digest) && known
}

// open returns the password of a user, which the TPM unseals once.
func (d *Directory) open(ctx context.Context, r record) ([]byte, error) {
	id := string(r.Hash.Salt) // of this password, not of the one that replaces it
	d.mu.Lock()
	password, found := d.unsealed[id]
	d.mu.Unlock()
	if found {
		return password, nil
	}
	password, err := d.sealer.Open(ctx, secretName(r.Name), *r.Sealed)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		fault := (*hal.TPMFault)(nil)
		if ctx.Err() == nil || errors.As(err, &fault) {
			d.fail(fmt.Errorf("opening the password of the user %q: %w", r.Name, err))
		}
		return nil, err
	}
	d.unsealed[id] = password
	return password, nil
}
