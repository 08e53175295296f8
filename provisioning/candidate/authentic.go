package candidate

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/binding"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
)

// Names of the values that a commit binds to the box.
const (
	boundSettings = "settings"
	boundPIN      = "console"
	boundUsers    = "users"
)

// ErrForeign is returned if the stored settings, the users or the console's PIN were
// not committed on this box.
var ErrForeign = fault.New(fault.SettingsForeign, "the settings, the users or the console's PIN were changed outside of this box, stored while its TPM did not work, or stored by an older version")

// settingsValue returns what is bound to the box of settings in these two sections.
func settingsValue(sections state.Sections, text, schema string) []byte {
	return []byte(Digest(sections[text], sections[schema]))
}

// damaged reports whether an error of the binding is its own, and not a state of the
// TPM that may pass.
func damaged(ctx context.Context, err error) bool {
	fault := (*hal.TPMFault)(nil)
	return err != nil && ctx.Err() == nil && (!errors.As(err, &fault) || fault.State == hal.TPMReplaced)
}

// bindingKey gets the key that binds what is committed, which may be new. There is none
// while the TPM does not work: that must not prevent a commit, which may be the remedy.
func (k Checker) bindingKey(ctx context.Context, c *checked) error {
	sections, err := k.Store.Load(ctx)
	if err != nil {
		return err
	}
	c.binding = sections[binding.Section]
	if c.key, err = binding.Open(ctx, sections, k.Sealer); err == nil {
		return nil
	}
	if !damaged(ctx, err) {
		return nil
	}
	c.key, err = binding.New(ctx, k.Sealer)
	c.newKey = err == nil
	return nil
}

// bind binds what the candidate has written into the sections.
func (c checked) bind(sections state.Sections) error {
	if c.newKey && !bytes.Equal(c.binding, sections[binding.Section]) {
		return ErrOvertaken // with what another process has bound under a key of its own
	}
	var errs []error
	if c.Settings != "" {
		// During a trial the settings before it stay bound, and no others.
		previous := settingsValue(sections, sectionTrial, sectionTrialSchema)
		_, onTrial := sections[sectionTrial]
		onTrial = onTrial && c.key.Holds(sections, boundSettings, previous)
		errs = append(errs, binding.Release(sections, boundSettings))
		if onTrial {
			errs = append(errs, c.key.Bind(sections, boundSettings, previous))
		}
		errs = append(errs, c.key.Bind(sections, boundSettings, settingsValue(sections, sectionSettings, sectionSchema)))
	}
	// A new key binds everything, unless the stored settings are of another: then they
	// must stay foreign.
	_, configured := sections[sectionSettings]
	everything := c.newKey && (c.Settings != "" || !configured)
	if c.PIN != nil || everything {
		errs = append(errs, binding.Release(sections, boundPIN), c.key.Bind(sections, boundPIN, sections[sectionPIN]))
	}
	if c.users != nil || everything {
		errs = append(errs, binding.Release(sections, boundUsers), c.key.Bind(sections, boundUsers, sections[user.Section]))
	}
	return errors.Join(errs...)
}

// Authentic returns ErrForeign unless the stored settings, the PIN and the users were
// committed on this box; it wraps binding.ErrNone if nothing is bound, and the cause if the
// binding is damaged or of another TPM. Other errors are those of the store and the
// TPM.
func Authentic(ctx context.Context, store Store, sealer keyring.Sealer) error {
	sections, err := store.Load(ctx)
	if err != nil {
		return err
	}
	if _, found := sections[sectionSettings]; !found {
		return nil
	}
	key, err := binding.Open(ctx, sections, sealer)
	if damaged(ctx, err) {
		return ErrForeign.Wrap(err)
	}
	if err != nil {
		return err
	}
	var changed []string
	if !key.Holds(sections, boundSettings, settingsValue(sections, sectionSettings, sectionSchema)) {
		changed = append(changed, "settings")
	}
	if !key.Holds(sections, boundPIN, sections[sectionPIN]) {
		changed = append(changed, "PIN")
	}
	if !key.Holds(sections, boundUsers, sections[user.Section]) {
		changed = append(changed, "users")
	}
	if changed == nil {
		return nil
	}
	return ErrForeign.With("changed", strings.Join(changed, ", "))
}
