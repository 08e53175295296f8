package candidate

import (
	"strconv"

	"sealpost/provisioning/identity"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// put writes the candidate's changes into the sections.
func (c checked) put(sections state.Sections) error {
	if c.Settings != "" {
		if err := c.putSettings(sections); err != nil {
			return err
		}
	}
	if c.client != nil {
		if err := c.client.Put(sections); err != nil {
			return err
		}
	}
	if c.site != nil {
		if err := c.site.Put(sections); err != nil {
			return err
		}
	} else if c.RemoveLAN {
		if err := identity.RemoveSite(sections); err != nil {
			return err
		}
	}
	if c.secret != nil {
		if err := c.secret.Put(sections); err != nil {
			return err
		}
	}
	if c.users != nil {
		if err := c.users.Put(sections); err != nil {
			return err
		}
	}
	if c.PIN != nil {
		sections[sectionPIN] = c.pin
		delete(sections, sectionWrongPINs)
		if c.pin == nil {
			delete(sections, sectionPIN)
		}
	}
	if err := c.bind(sections); err != nil {
		return err
	}
	if c.Origin == "" {
		return nil
	}
	return remember(sections, c.Origin)
}

func (c checked) putSettings(sections state.Sections) error {
	before, found := sections[sectionSettings]
	if c.Base != "" && c.Base != Version(string(before)) {
		return ErrOvertaken
	}
	_, onTrial := sections[sectionTrial]
	switch {
	case !c.Trial || !found:
		endTrial(sections)
	case !onTrial: // after two trials in a row, roll back to before the first
		move(sections, sectionTrial, sectionSettings)
		move(sections, sectionTrialSchema, sectionSchema)
	}
	sections[sectionSettings] = []byte(c.Settings)
	sections[sectionSchema] = strconv.AppendInt(nil, settings.Schema, 10)
	return nil
}

// endTrial confirms the settings on trial.
func endTrial(sections state.Sections) {
	delete(sections, sectionTrial)
	delete(sections, sectionTrialSchema)
}

// restore ends a trial and restores the previous settings.
func restore(sections state.Sections) {
	move(sections, sectionSettings, sectionTrial)
	move(sections, sectionSchema, sectionTrialSchema)
}

// move renames a section and replaces the target; if the source is missing, the
// target is deleted.
func move(sections state.Sections, to, from string) {
	content, found := sections[from]
	delete(sections, from)
	delete(sections, to)
	if found {
		sections[to] = content
	}
}
