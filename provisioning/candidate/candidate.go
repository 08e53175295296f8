// Package candidate is what a technician wants a box to become: a candidate
// configuration in the sense of RFC 6241 section 8.3, checked as a whole and
// committed as a whole, in one write of the settings area.
//
// It brings settings, certificate, client secret and PIN together. It must not
// know where they came from, a cable or a stick, nor the network, files or
// processes.
//
// A change of the network can cut its own author off. It is committed on trial
// (section 8.4, the confirmed commit): what was before is kept beside it, and
// comes back unless somebody confirms. See [ConfirmedCommit].
package candidate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/pin"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// Sections of the settings area that this package owns. The two with a schema
// hold the number of [settings.Schema] that the text has which they are named
// after, in decimal digits. Without one it is 1, which is what versions before
// the number have written.
const (
	sectionSettings    = "settings"
	sectionSchema      = "settings schema"
	sectionTrial       = "settings on trial" // what they replace
	sectionTrialSchema = "settings on trial schema"
	sectionOrigins     = "origins"
	sectionPIN         = "console"
)

// mostOrigins is how many bundles are remembered as applied.
const mostOrigins = 64

// errNothing is returned where there is nothing to commit.
var errNothing = errors.New("there is nothing to change")

// ErrOvertaken is returned where the settings are not those any more that the
// author of others has seen.
var ErrOvertaken = fault.New(fault.SettingsChanged, "somebody else has changed the settings meanwhile, such as with a stick: look at the settings that are in force now, and make the change again if it is not among them")

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Candidate is everything a commit may change; what is empty stays as it is.
// Printed it shows no secret.
type Candidate struct {
	Settings string   `json:"settings,omitempty"` // the text of a sealpost.toml
	PFX      []byte   `json:"pfx,omitempty"`      // certificate, chain and key, PKCS #12
	Password Password `json:"password,omitempty"` // the PFX's
	PEM      []byte   `json:"pem,omitempty"`      // the certificate that answers a request
	PIN      *string  `json:"pin,omitempty"`      // the console's; "" takes it away
	// ClientSecret is that of the application in the settings.
	ClientSecret Password `json:"client_secret,omitempty"`
	// Origin is the digest of what the candidate was read from, so that it is
	// not applied twice; see [Applied].
	Origin string `json:"origin,omitempty"`
	// Trial keeps what was before, until a [ConfirmedCommit] confirms the
	// settings or rolls them back.
	Trial bool `json:"trial,omitempty"`
	// Base is the [Version] of the settings that the author of these has seen;
	// over others they are not committed. Without it they replace any.
	Base string `json:"base,omitempty"`
}

// Password is a secret that does not print.
type Password string

func (Password) String() string { return "(a password)" }

// GoString keeps %#v from printing it.
func (p Password) GoString() string { return p.String() }

// Format keeps every verb from printing a secret of the candidate.
func (c Candidate) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "candidate (settings %d, pfx %d, pem %d bytes)", len(c.Settings), len(c.PFX), len(c.PEM))
}

// Checker is what a check must ask of the world.
type Checker struct {
	Store   Store
	TPM     hal.TPM
	Protect identity.Protector
	Sealer  keyring.Sealer
	// Usable refuses a certificate that the tenant could make nothing of.
	Usable func(certificate.Path) error
}

// checked is a candidate whose every part was found good.
type checked struct {
	Candidate
	bundle *certificate.Bundle
	answer *identity.Client
	pin    []byte
	secret *credential.Sealed
}

// Check says everything that stands against the candidate, and changes nothing.
func (k Checker) Check(ctx context.Context, c Candidate) error {
	found, err := k.check(ctx, c)
	if found.bundle != nil {
		certificate.WipeKey(found.bundle.Key)
	}
	return err
}

func (k Checker) check(ctx context.Context, c Candidate) (checked, error) {
	found := checked{Candidate: c}
	var faults []error
	if c.Settings == "" && c.PFX == nil && c.PEM == nil && c.PIN == nil && c.ClientSecret == "" {
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
	return found, errors.Join(faults...)
}

// vault keeps the client secret of the application that the box is to be.
func (k Checker) vault(ctx context.Context, c Candidate) (credential.Vault, error) {
	var s settings.Settings
	var err error
	if c.Settings != "" {
		if s, err = settings.Parse([]byte(c.Settings)); err != nil {
			return credential.Vault{}, nil // which is said of the settings
		}
	} else {
		stored, err := LoadSettings(ctx, k.Store)
		if err != nil {
			return credential.Vault{}, err
		}
		s = stored.Settings
	}
	if !s.Upstream.Method.Traits().Mailbox || s.Upstream.OAuth.Grant != settings.GrantSecret {
		return credential.Vault{}, fmt.Errorf("there is a client secret, and the settings make no use of one: leave it out, or set upstream.method to %q and upstream.oauth.grant to %q",
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
	return k.Usable(bundle.Path)
}

func (k Checker) readPEM(ctx context.Context, c Candidate, found *checked) error {
	certificates, err := certificate.ParsePEM(c.PEM)
	if err != nil {
		return err
	}
	client, err := identity.Answer(ctx, k.Store, k.TPM, certificates, k.Usable)
	found.answer = &client
	return err
}

// Commit checks the candidate and makes it the box's own in one write; an error
// leaves everything as it was.
func (k Checker) Commit(ctx context.Context, c Candidate) error {
	found, err := k.check(ctx, c)
	if err != nil {
		if found.bundle != nil {
			certificate.WipeKey(found.bundle.Key)
		}
		return err
	}
	client := found.answer
	if found.bundle != nil {
		imported, err := identity.Protect(ctx, k.Protect, *found.bundle)
		if err != nil {
			return err
		}
		client = &imported
	}
	if c.ClientSecret != "" {
		if found.secret, err = k.sealSecret(ctx, c); err != nil {
			return err
		}
	}
	return k.Store.Update(ctx, func(sections state.Sections) error { return found.put(sections, client) })
}

func (k Checker) sealSecret(ctx context.Context, c Candidate) (*credential.Sealed, error) {
	vault, err := k.vault(ctx, c)
	if err != nil {
		return nil, err
	}
	sealed, err := vault.Seal(ctx, credential.ClientSecret, []byte(c.ClientSecret))
	return &sealed, err
}

// put writes what the candidate changes into the sections.
func (c checked) put(sections state.Sections, client *identity.Client) error {
	if c.Settings != "" {
		if err := c.putSettings(sections); err != nil {
			return err
		}
	}
	if client != nil {
		if err := client.Put(sections); err != nil {
			return err
		}
	}
	if c.secret != nil {
		if err := c.secret.Put(sections); err != nil {
			return err
		}
	}
	if c.PIN != nil {
		sections[sectionPIN] = c.pin
		if c.pin == nil {
			delete(sections, sectionPIN)
		}
	}
	if c.Origin == "" {
		return nil
	}
	return remember(sections, c.Origin)
}

func (c checked) putSettings(sections state.Sections) error {
	before, there := sections[sectionSettings]
	if c.Base != "" && c.Base != Version(string(before)) {
		return ErrOvertaken
	}
	_, trying := sections[sectionTrial]
	switch {
	case !c.Trial || !there:
		keep(sections)
	case !trying: // of two trials on end, the settings before the first come back
		move(sections, sectionTrial, sectionSettings)
		move(sections, sectionTrialSchema, sectionSchema)
	}
	sections[sectionSettings] = []byte(c.Settings)
	sections[sectionSchema] = strconv.AppendInt(nil, settings.Schema, 10)
	return nil
}

// keep ends a trial: its settings stay.
func keep(sections state.Sections) {
	delete(sections, sectionTrial)
	delete(sections, sectionTrialSchema)
}

// undo ends a trial: the settings before it come back.
func undo(sections state.Sections) {
	move(sections, sectionSettings, sectionTrial)
	move(sections, sectionSchema, sectionTrialSchema)
}

// move has one section take the place of another; one that is not there leaves
// nothing.
func move(sections state.Sections, to, from string) {
	content, there := sections[from]
	delete(sections, from)
	delete(sections, to)
	if there {
		sections[to] = content
	}
}

// Version names the text of settings; that of the factory state is empty.
func Version(text string) string { return Digest([]byte(text)) }

// Digest names the content that a candidate was read from.
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
	encoded, err := json.Marshal(known[max(0, len(known)-mostOrigins):])
	sections[sectionOrigins] = encoded
	return err
}

// origins are the bundles applied so far; a list that cannot be read costs
// nothing but a bundle applied again.
func origins(sections state.Sections) []string {
	var known []string
	_ = json.Unmarshal(sections[sectionOrigins], &known)
	return known
}
