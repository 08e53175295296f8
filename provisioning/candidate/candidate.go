// Package candidate is the candidate configuration of a box (RFC 6241 section
// 8.3): it is checked as a whole and committed as a whole, in one write of the
// settings area.
//
// It combines settings, certificate, client secret, PIN and users. It must not know
// where they came from, a cable or a stick, nor the network, files or processes.
//
// A network change can cut off the person who made it. It is therefore committed
// on trial (section 8.4, confirmed commit): the previous settings are stored with
// it, and are restored unless somebody confirms. See [ConfirmedCommit].
package candidate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/binding"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/pin"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
)

// Sections of the settings area that this package owns. The two schema sections
// hold the [settings.Schema] of the corresponding text in decimal digits; if one
// is missing, the schema is 1, because the first versions did not write it.
const (
	sectionSettings    = "settings"
	sectionSchema      = "settings schema"
	sectionTrial       = "settings on trial" // the previous settings
	sectionTrialSchema = "settings on trial schema"
	sectionOrigins     = "origins"
	sectionPIN         = "console"
	sectionWrongPINs   = "console wrong PINs"
)

// maxOrigins is the number of applied bundles that are remembered.
const maxOrigins = 64

// errNothing is returned for an empty candidate.
var errNothing = errors.New("there is nothing to change")

// ErrOvertaken is returned if the stored settings have changed since the author
// of new ones read them.
var ErrOvertaken = fault.New(fault.SettingsChanged, "somebody else has changed the settings meanwhile, such as with a stick: check the current settings, and make the change again if it is missing")

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Candidate is everything that a commit may change; empty fields change nothing.
// It prints without its secrets.
type Candidate struct {
	Settings string   `json:"settings,omitempty"` // the text of a sealpost.toml
	PFX      []byte   `json:"pfx,omitempty"`      // certificate, chain and key, PKCS #12
	Password Password `json:"password,omitempty"` // the PFX's
	PEM      []byte   `json:"pem,omitempty"`      // the certificate for a request
	PIN      *string  `json:"pin,omitempty"`      // the console's; "" removes it
	// ClientSecret is the secret of the application in the settings.
	ClientSecret Password `json:"client_secret,omitempty"`
	// LAN is a PFX with the site's own server certificate for the LAN.
	LAN         []byte   `json:"lan,omitempty"`
	LANPassword Password `json:"lan_password,omitempty"`
	// RemoveLAN removes the site's certificate: the box uses its own.
	RemoveLAN bool `json:"remove_lan,omitempty"`
	// Users are changes of the users as whom devices log in.
	Users []user.Change `json:"users,omitempty"`
	// Origin is the digest of the files that the candidate was read from; it
	// prevents applying them twice. See [Applied].
	Origin string `json:"origin,omitempty"`
	// Trial commits the settings on trial, until a [ConfirmedCommit] confirms
	// them or rolls them back.
	Trial bool `json:"trial,omitempty"`
	// Base is the [Version] of the settings that these replace; if others are
	// stored, the commit fails. Empty replaces any.
	Base string `json:"base,omitempty"`
}

// Password is a secret that is never printed.
type Password string

func (Password) String() string { return "(a password)" }

// GoString keeps %#v from printing it.
func (p Password) GoString() string { return p.String() }

// Format keeps every verb from printing a secret of the candidate.
func (c Candidate) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "candidate (settings %d, pfx %d, pem %d bytes)", len(c.Settings), len(c.PFX), len(c.PEM))
}

// Checker holds what a check and a commit need.
type Checker struct {
	Store   Store
	TPM     hal.TPM
	Protect identity.Protector
	Sealer  keyring.Sealer
	// CheckPath rejects a certificate that Exchange Online could not use.
	CheckPath func(certificate.Path) error
	// CheckServer rejects a certificate that devices on the LAN could not use.
	CheckServer func(certificate.Path) error
}

// checked is a candidate with its parsed parts.
type checked struct {
	Candidate
	bundle *certificate.Bundle
	client *identity.Client
	pin    []byte
	secret *credential.Sealed
	users  *user.Prepared
	lan    *certificate.Bundle
	site   *identity.Site
	// key binds what is committed; nil if nothing can. If it is new, it replaces the
	// one in binding.
	key     *binding.Key
	newKey  bool
	binding []byte
}

// Check returns all faults of the candidate, and changes nothing.
func (k Checker) Check(ctx context.Context, c Candidate) error {
	found, err := k.check(ctx, c)
	found.wipe()
	return err
}

// wipe wipes the keys of the candidate's PFX files.
func (c checked) wipe() {
	for _, bundle := range []*certificate.Bundle{c.bundle, c.lan} {
		if bundle != nil {
			certificate.WipeKey(bundle.Key)
		}
	}
}

// Empty reports that the candidate would change nothing.
func (c Candidate) Empty() bool {
	return c.Settings == "" && c.PFX == nil && c.PEM == nil && c.PIN == nil && c.ClientSecret == "" && len(c.Users) == 0 && c.LAN == nil && !c.RemoveLAN
}

func (k Checker) check(ctx context.Context, c Candidate) (checked, error) {
	found := checked{Candidate: c}
	var faults []error
	if c.Empty() {
		faults = append(faults, errNothing)
	}
	if c.Settings != "" {
		_, err := settings.Parse([]byte(c.Settings))
		faults = append(faults, err)
	}
	if c.PFX != nil && c.PEM != nil {
		faults = append(faults, errors.New("there is a PFX and a PEM certificate: leave one of them out"))
	} else if c.PFX != nil {
		faults = append(faults, k.readPFX(c, &found))
	} else if c.PEM != nil {
		faults = append(faults, k.readPEM(ctx, c, &found))
	}
	if c.PIN != nil && *c.PIN != "" {
		var err error
		found.pin, err = pin.Seal(*c.PIN)
		faults = append(faults, err)
	}
	if c.ClientSecret != "" {
		_, err := k.vault(ctx, c)
		faults = append(faults, err)
	}
	if c.LAN != nil {
		faults = append(faults, k.readLAN(c, &found))
	}
	faults = append(faults, user.Check(c.Users))
	return found, errors.Join(faults...)
}

// vault returns the vault of the application in the candidate's settings, or in
// the stored ones.
func (k Checker) vault(ctx context.Context, c Candidate) (credential.Vault, error) {
	var s settings.Settings
	var err error
	if c.Settings != "" {
		if s, err = settings.Parse([]byte(c.Settings)); err != nil {
			return credential.Vault{}, nil // reported for the settings already
		}
	} else {
		stored, err := LoadSettings(ctx, k.Store)
		if err != nil {
			return credential.Vault{}, err
		}
		s = stored.Settings
	}
	if !s.Upstream.Method.Traits().Mailbox || s.Upstream.OAuth.Grant != settings.GrantSecret {
		return credential.Vault{}, fmt.Errorf("there is a client secret, but the settings do not use one: leave it out, or set upstream.method to %q and upstream.oauth.grant to %q",
			settings.MethodSubmission, settings.GrantSecret)
	}
	return credential.Vault{Sealer: k.Sealer, Application: credential.Of(s)}, nil
}

func (k Checker) readPFX(c Candidate, found *checked) error {
	bundle, err := certificate.ParsePFX(c.PFX, string(c.Password))
	if err != nil {
		return err
	}
	found.bundle = &bundle
	return k.CheckPath(bundle.Path)
}

func (k Checker) readLAN(c Candidate, found *checked) error {
	bundle, err := certificate.ParsePFX(c.LAN, string(c.LANPassword))
	if err != nil {
		return err
	}
	found.lan = &bundle
	return k.CheckServer(bundle.Path)
}

func (k Checker) readPEM(ctx context.Context, c Candidate, found *checked) error {
	certificates, err := certificate.ParsePEM(c.PEM)
	if err != nil {
		return err
	}
	client, err := identity.Match(ctx, k.Store, k.TPM, certificates, k.CheckPath)
	found.client = &client
	return err
}

// Commit checks the candidate and stores it in one write; an error changes
// nothing.
func (k Checker) Commit(ctx context.Context, c Candidate) error {
	found, err := k.check(ctx, c)
	defer found.wipe()
	if err != nil {
		return err
	}
	if err := k.bindingKey(ctx, &found); err != nil {
		return err
	}
	if err := k.protect(ctx, &found); err != nil {
		return err
	}
	return k.Store.Update(ctx, found.put)
}

// protect hashes and seals the secrets of a candidate.
func (k Checker) protect(ctx context.Context, c *checked) (err error) {
	if c.bundle != nil {
		imported, err := identity.Protect(ctx, k.Protect, *c.bundle)
		if err != nil {
			return err
		}
		c.client = &imported
	}
	if c.lan != nil {
		site, err := identity.ProtectSite(ctx, k.Sealer, *c.lan)
		if err != nil {
			return err
		}
		c.site = &site
	}
	if c.ClientSecret != "" {
		if c.secret, err = k.sealSecret(ctx, c.Candidate); err != nil {
			return err
		}
	}
	if len(c.Users) > 0 {
		users, err := user.Prepare(ctx, k.Sealer, c.Users)
		if err != nil {
			return err
		}
		c.users = &users
	}
	return nil
}

func (k Checker) sealSecret(ctx context.Context, c Candidate) (*credential.Sealed, error) {
	vault, err := k.vault(ctx, c)
	if err != nil {
		return nil, err
	}
	sealed, err := vault.Seal(ctx, credential.ClientSecret, []byte(c.ClientSecret))
	return &sealed, err
}

// Version identifies a settings text; the text of the factory state is empty.
func Version(text string) string { return Digest([]byte(text)) }

// Digest identifies the content that a candidate was read from.
func Digest(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func remember(sections state.Sections, origin string) error {
	known := origins(sections)
	if slices.Contains(known, origin) {
		return nil
	}
	known = append(known, origin)
	encoded, err := json.Marshal(known[max(0, len(known)-maxOrigins):])
	sections[sectionOrigins] = encoded
	return err
}

// origins returns the bundles applied so far. If the list is damaged, a bundle
// may be applied again, which does no harm.
func origins(sections state.Sections) []string {
	var known []string
	_ = json.Unmarshal(sections[sectionOrigins], &known)
	return known
}
