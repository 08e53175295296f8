package candidate

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
)

// fakeTPM seals like a TPM, without secrecy.
type fakeTPM struct{ fault error }

func (f *fakeTPM) sealer() keyring.Sealer {
	return keyring.Sealer{
		Seal: func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.Secret{Protection: keyring.TPMSealed, Name: name, Clear: secret}, f.fault
		},
		Open: func(_ context.Context, name string, stored keyring.Secret) ([]byte, error) {
			if stored.Name != name {
				return nil, keyring.ErrDamaged
			}
			return stored.Clear, f.fault
		},
	}
}

func text(s string) *string { return &s }

func TestAuthentic_FindsWhatThisBoxDidNotCommit(t *testing.T) {
	// A commit of a PIN takes long, so the cases begin with copies of one.
	printer := user.Change{User: user.User{Name: "printer", CRAMMD5: true}, Password: "long enough"}
	none, both := state.Sections{}, committed(t, nil, Candidate{Settings: before, PIN: text("123456")})
	onTrial := committed(t, both, Candidate{Settings: after, Trial: true})
	for name, c := range map[string]struct {
		before  state.Sections
		commits []Candidate
		change  func(m *memory)
		foreign string // what has changed; "" means nothing
	}{
		"the factory state":          {none, nil, func(*memory) {}, ""},
		"nothing":                    {both, nil, func(*memory) {}, ""},
		"nothing, without a PIN":     {none, []Candidate{{Settings: before}}, func(*memory) {}, ""},
		"committed again":            {both, []Candidate{{Settings: after}, {PIN: text("")}, {PIN: text("654321")}}, func(*memory) {}, ""},
		"a certificate":              {both, []Candidate{{PFX: pfx(t, "p"), Password: "p"}}, func(*memory) {}, ""},
		"a trial":                    {onTrial, nil, func(*memory) {}, ""},
		"a trial that was confirmed": {onTrial, nil, func(m *memory) { endTrial(m.sections) }, ""},
		"a trial that was rolled back": {onTrial, []Candidate{{Settings: before + "#", Trial: true}}, func(m *memory) {
			restore(m.sections)
		}, ""},
		"settings":                   {both, nil, func(m *memory) { m.sections[sectionSettings] = []byte(after) }, "settings"},
		"the schema":                 {both, nil, func(m *memory) { m.sections[sectionSchema] = []byte("9") }, "settings"},
		"the PIN":                    {both, nil, func(m *memory) { m.sections[sectionPIN] = []byte("other") }, "PIN"},
		"a PIN that is gone":         {both, nil, func(m *memory) { delete(m.sections, sectionPIN) }, "PIN"},
		"a PIN where there was none": {none, []Candidate{{Settings: before}}, func(m *memory) { m.sections[sectionPIN] = []byte("new") }, "PIN"},
		"the PIN, then settings are committed": {both, nil, func(m *memory) {
			delete(m.sections, sectionPIN)
			if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), Candidate{Settings: after}); err != nil {
				t.Fatal(err)
			}
		}, "PIN"},
		"a rolled back trial of foreign settings": {onTrial, nil, func(m *memory) {
			m.sections[sectionTrial] = []byte(before + "#")
			restore(m.sections)
		}, "settings"},
		"a user":                  {both, []Candidate{{Users: []user.Change{printer}}, {Settings: after}}, func(*memory) {}, ""},
		"a user that was removed": {both, []Candidate{{Users: []user.Change{printer}}, {Users: []user.Change{{User: printer.User, Remove: true}}}}, func(*memory) {}, ""},
		"users before settings":   {none, []Candidate{{Users: []user.Change{printer}}, {Settings: before}}, func(*memory) {}, ""},
		"a foreign user":          {both, nil, func(m *memory) { m.sections[user.Section] = []byte("[]") }, "users"},
		"users that are gone":     {both, []Candidate{{Users: []user.Change{printer}}}, func(m *memory) { delete(m.sections, user.Section) }, "users"},
		"no binding":              {both, nil, func(m *memory) { delete(m.sections, "binding") }, "all"},
		"a damaged binding":       {both, nil, func(m *memory) { m.sections["binding"] = []byte("{") }, "all"},
		"a binding that no TPM opens": {both, nil, func(m *memory) {
			m.sections["binding"] = bytes.Replace(m.sections["binding"], []byte(`"binding"`), []byte(`"other"`), 1)
		}, "all"},
		"settings of an earlier trial": {onTrial, nil, func(m *memory) {
			restore(m.sections)
			if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), Candidate{Settings: before + "#", Trial: true}); err != nil {
				t.Fatal(err)
			}
			m.sections[sectionSettings] = []byte(after)
		}, "settings"},
		"without the TPM": {both, nil, func(m *memory) {
			broken := &fakeTPM{&hal.TPMFault{State: hal.TPMAbsent}}
			if err := bindingChecker(m, broken).Commit(t.Context(), Candidate{Settings: after}); err != nil {
				t.Fatal(err)
			}
		}, "settings"},
	} {
		m := &memory{sections: committed(t, c.before, c.commits...)}
		c.change(m)
		err := Authentic(t.Context(), m, (&fakeTPM{}).sealer())
		f := fault.List(err)
		switch {
		case c.foreign == "" && err != nil, c.foreign != "" && err == nil:
			t.Errorf("%s: got %v, want foreign %q", name, err, c.foreign)
		case c.foreign == "settings" || c.foreign == "PIN" || c.foreign == "users":
			if !errors.Is(err, ErrForeign) || f[0].Facts["changed"] != c.foreign {
				t.Errorf("%s: got %v, %v, want %s", name, err, f[0].Facts, c.foreign)
			}
		case c.foreign == "all" && !errors.Is(err, ErrForeign):
			t.Errorf("%s: got %v, want %v", name, err, ErrForeign)
		}
	}
}

// committed returns the sections after commits on a box with a TPM.
func committed(t *testing.T, sections state.Sections, commits ...Candidate) state.Sections {
	t.Helper()
	m := &memory{sections: maps.Clone(sections)}
	for _, each := range commits {
		if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), each); err != nil {
			t.Fatal(err)
		}
	}
	return m.sections
}

// TestCommit_BindsNoMoreWithEachTrial checks that trials do not fill the settings area:
// each change of the network is a trial.
func TestCommit_BindsNoMoreWithEachTrial(t *testing.T) {
	m := &memory{sections: committed(t, nil, Candidate{Settings: before})}
	size := 0
	for n := range 4 {
		commitOnTrial := Candidate{Settings: before + strings.Repeat("#", n+1), Trial: true}
		if err := bindingChecker(m, &fakeTPM{}).Commit(t.Context(), commitOnTrial); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			endTrial(m.sections)
		} else {
			restore(m.sections)
		}
		if err := Authentic(t.Context(), m, (&fakeTPM{}).sealer()); err != nil {
			t.Error(err)
		}
		if now := len(m.sections["binding"]); size == 0 {
			size = now
		} else if now != size {
			t.Errorf("got a binding of %d bytes, want %d as before", now, size)
		}
	}
}

// TestCommit_FailsIfAnotherHasBoundMeanwhile has two processes that commit for the first
// time, and each creates a key for the binding.
func TestCommit_FailsIfAnotherHasBoundMeanwhile(t *testing.T) {
	m := &memory{}
	k := bindingChecker(m, &fakeTPM{})
	seal := k.Sealer.Seal
	k.Sealer.Seal = func(ctx context.Context, name string, secret []byte) (keyring.Secret, error) {
		if err := bindingChecker(m, &fakeTPM{}).Commit(ctx, Candidate{Settings: before}); err != nil {
			t.Fatal(err)
		}
		return seal(ctx, name, secret)
	}
	if err := k.Commit(t.Context(), Candidate{PIN: text("123456")}); !errors.Is(err, ErrOvertaken) {
		t.Errorf("got %v, want %v", err, ErrOvertaken)
	}
	if err := Authentic(t.Context(), m, (&fakeTPM{}).sealer()); err != nil {
		t.Error(err)
	}
}

// TestCommit_BindsNothingInAFile has a box that stores its keys in clear text: it cannot
// authenticate the settings.
func TestCommit_BindsNothingInAFile(t *testing.T) {
	m := &memory{}
	commit(t, m, Candidate{Settings: before})
	if _, found := m.sections["binding"]; found {
		t.Error("got a binding, want none: its key would be in clear text")
	}
}

func bindingChecker(m *memory, tpm *fakeTPM) Checker {
	k := checker(m)
	k.Sealer = tpm.sealer()
	return k
}
