package candidate

import (
	"context"
	"errors"
	"maps"
	"testing"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
)

// fakeTPM seals like a TPM, without secrecy.
type fakeTPM struct{ fault error }

func (f *fakeTPM) sealer() keyring.Sealer {
	return keyring.Sealer{
		Seal: func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.Secret{Protection: keyring.TPMSealed, Name: name, Clear: secret}, f.fault
		},
		Open: func(_ context.Context, _ string, stored keyring.Secret) ([]byte, error) {
			return stored.Clear, f.fault
		},
	}
}

func text(s string) *string { return &s }

func TestAuthentic_FindsWhatThisBoxDidNotCommit(t *testing.T) {
	both := Candidate{Settings: before, PIN: text("123456")}
	for name, c := range map[string]struct {
		commits []Candidate
		change  func(m *memory)
		foreign string // what has changed; "" means nothing
	}{
		"the factory state":          {nil, func(*memory) {}, ""},
		"nothing":                    {[]Candidate{both}, func(*memory) {}, ""},
		"nothing, without a PIN":     {[]Candidate{{Settings: before}}, func(*memory) {}, ""},
		"committed again":            {[]Candidate{both, {Settings: after}, {PIN: text("")}, {PIN: text("654321")}}, func(*memory) {}, ""},
		"a certificate":              {[]Candidate{both, {PFX: pfx(t, "p"), Password: "p"}}, func(*memory) {}, ""},
		"a trial":                    {[]Candidate{both, {Settings: after, Trial: true}}, func(*memory) {}, ""},
		"a trial that was confirmed": {[]Candidate{both, {Settings: after, Trial: true}}, func(m *memory) { endTrial(m.sections) }, ""},
		"a trial that was rolled back": {[]Candidate{both, {Settings: after, Trial: true}, {Settings: before + "#", Trial: true}}, func(m *memory) {
			restore(m.sections)
		}, ""},
		"settings":             {[]Candidate{both}, func(m *memory) { m.sections[sectionSettings] = []byte(after) }, "settings"},
		"the schema":           {[]Candidate{both}, func(m *memory) { m.sections[sectionSchema] = []byte("9") }, "settings"},
		"the PIN":              {[]Candidate{both}, func(m *memory) { m.sections[sectionPIN] = []byte("other") }, "PIN"},
		"a PIN that is gone":   {[]Candidate{both}, func(m *memory) { delete(m.sections, sectionPIN) }, "PIN"},
		"a PIN where was none": {[]Candidate{{Settings: before}}, func(m *memory) { m.sections[sectionPIN] = []byte("new") }, "PIN"},
		"the PIN, then settings are committed": {[]Candidate{both}, func(m *memory) {
			delete(m.sections, sectionPIN)
			if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), Candidate{Settings: after}); err != nil {
				t.Fatal(err)
			}
		}, "PIN"},
		"a rolled back trial of foreign settings": {[]Candidate{both, {Settings: after, Trial: true}}, func(m *memory) {
			m.sections[sectionTrial] = []byte(before + "#")
			restore(m.sections)
		}, "settings"},
		"no binding":        {[]Candidate{both}, func(m *memory) { delete(m.sections, "binding") }, "all"},
		"a damaged binding": {[]Candidate{both}, func(m *memory) { m.sections["binding"] = []byte("{") }, "error"},
		"without the TPM": {[]Candidate{both}, func(m *memory) {
			broken := &fakeTPM{&hal.TPMFault{State: hal.TPMAbsent}}
			if err := bindingChecker(m, broken).Commit(t.Context(), Candidate{Settings: after}); err != nil {
				t.Fatal(err)
			}
		}, "settings"},
	} {
		m := &memory{}
		for _, each := range c.commits {
			if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), each); err != nil {
				t.Fatal(err)
			}
		}
		m.sections = maps.Clone(m.sections)
		c.change(m)
		err := Authentic(t.Context(), m, (&fakeTPM{}).sealer())
		f := fault.List(err)
		switch {
		case c.foreign == "" && err != nil, c.foreign != "" && err == nil:
			t.Errorf("%s: got %v", name, err)
		case c.foreign == "settings" || c.foreign == "PIN":
			if !errors.Is(err, ErrForeign) || f[0].Facts["changed"] != c.foreign {
				t.Errorf("%s: got %v, %v, want %s", name, err, f[0].Facts, c.foreign)
			}
		case c.foreign == "all" && !errors.Is(err, ErrForeign):
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A box that stores its keys in clear text cannot authenticate the settings.
func TestCommit_BindsNothingInAFile(t *testing.T) {
	m := &memory{}
	commit(t, m, Candidate{Settings: before})
	if _, found := m.sections["binding"]; found {
		t.Error("the settings are bound to a key in clear text")
	}
}

func bindingChecker(m *memory, tpm *fakeTPM) Checker {
	k := checker(m)
	k.Sealer = tpm.sealer()
	return k
}
