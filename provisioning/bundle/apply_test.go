package bundle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// memory is a settings area.
type memory struct {
	sections state.Sections
	opened   int
	closeErr error // of closing a checker
}

func (m *memory) Load(context.Context) (state.Sections, error) { return maps.Clone(m.sections), nil }

func (m *memory) Update(_ context.Context, change func(state.Sections) error) error {
	sections := state.Sections{}
	maps.Copy(sections, m.sections)
	if err := change(sections); err != nil {
		return err
	}
	m.sections = sections
	return nil
}

func (m *memory) open(context.Context, candidate.Candidate) (candidate.Checker, func() error, error) {
	m.opened++
	return candidate.Checker{Store: m, Sealer: keyring.FileSealer(nil), CheckPath: acceptAnyPath}, func() error { return m.closeErr }, nil
}

func (m *memory) apply(t *testing.T, stick fstest.MapFS) Result {
	t.Helper()
	return Apply(t.Context(), stick, serial, acceptAnyPath, m.open)
}

func TestApply_CommitsAStickOnlyOnce(t *testing.T) {
	var m memory
	stick := fstest.MapFS{"sealpost/sealpost.toml": content(good)}
	files := []string{"sealpost/sealpost.toml"}
	if v := m.apply(t, stick); !v.Applied || !slices.Equal(v.Files, files) || v.String() != "applied: sealpost/sealpost.toml" {
		t.Errorf("first time: got %+v, want applied", v)
	}
	if running, err := candidate.Load(t.Context(), &m); err != nil || running.Settings != good || running.Trial {
		t.Errorf("got stored %+v, %v, want the settings without a trial", running, err)
	}
	m.closeErr = errors.New("closing failed")
	if v := m.apply(t, stick); !v.AppliedBefore || v.Applied || v.String() != "applied before, nothing was changed: sealpost/sealpost.toml" {
		t.Errorf("second time: got %+v, want applied before", v)
	}
}

func TestApply_NamesEveryFaultAndOpensNothing(t *testing.T) {
	var m memory
	v := m.apply(t, fstest.MapFS{"sealpost/sealpost.toml": content("[lan]\nallow = 2\n[limits]\nrecipients = \"x\"\n"), "sealpost/a.pfx": content("x"), "sealpost/b.pem": content("x")})
	if v.Applied || v.AppliedBefore || len(v.Faults) < 3 || m.opened > 0 || m.sections != nil {
		t.Errorf("got %+v, opened %d times, want at least 3 faults and nothing opened", v, m.opened)
	}
	if !strings.HasPrefix(v.String(), "rejected, nothing was changed: ") || strings.Contains(v.String(), "\n") {
		t.Errorf("as text: got %s, want one line", v)
	}
	if v := m.apply(t, fstest.MapFS{"sealpost/sealpost.toml": content("[lan]\nallow = 2\n")}); len(v.Faults) == 0 || m.sections != nil {
		t.Errorf("settings with a fault: got %+v, want a fault and nothing stored", v)
	}
}

func TestApply_RefusesACertificateForABoxWithoutSettings(t *testing.T) {
	var m memory
	v := m.apply(t, fstest.MapFS{"sealpost/contoso.pfx": {Data: pfx(t)}, "sealpost/password.txt": content(password)})
	if v.Applied || len(v.Faults) != 1 || !strings.HasPrefix(v.Faults[0].Text, "sealpost: this box is not set up") {
		t.Errorf("got %+v, want the fault that the box is not set up", v)
	}
}

func TestApply_ReturnsTheErrorOfOpen(t *testing.T) {
	open := func(context.Context, candidate.Candidate) (candidate.Checker, func() error, error) {
		return candidate.Checker{}, nil, errors.New("there is no state yet")
	}
	v := Apply(t.Context(), fstest.MapFS{"sealpost/sealpost.toml": content(good)}, serial, acceptAnyPath, open)
	if v.Applied || len(v.Faults) != 1 || v.Faults[0].Text != "there is no state yet" {
		t.Errorf("got %+v, want the error of open", v)
	}
}

func TestResult_TextReportsTheResult(t *testing.T) {
	at := time.Date(2026, 11, 26, 9, 5, 0, 0, time.UTC)
	for _, c := range []struct {
		result Result
		at     time.Time
		want   string
	}{
		{Result{Applied: true, Files: []string{"sealpost/sealpost.toml", "sealpost/a.pfx"}}, at, `Sealpost: result for this stick

Box:   10000000abcdef12
Time:  2026-11-26 09:05:00 UTC
Read:  sealpost/sealpost.toml
       sealpost/a.pfx

The box has applied these files.

Next: pull the stick out, and delete the PFX, the password and the secret from
it: the box has its own copy. Send a test message from a device. If the lamp is
not on steadily after a minute, the serial console says why.
`},
		{Result{AppliedBefore: true, Files: []string{"sealpost/sealpost.toml"}}, time.Time{}, `Sealpost: result for this stick

Box:   10000000abcdef12
Read:  sealpost/sealpost.toml

This box has already applied exactly these files. Nothing was changed.

Next: pull the stick out. To change the settings, change the files.
`},
		{Rejected(errors.Join(errors.New("one"), errors.New("two"))), time.Time{}, `Sealpost: result for this stick

Box:   10000000abcdef12

Nothing was changed, because of these faults:
1. one
2. two

Next: correct the files, eject the stick, and plug it into the box again.
`},
	} {
		if got := string(c.result.Text(serial, c.at)); got != strings.ReplaceAll(c.want, "\n", "\r\n") {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestResult_TextContainsTheCure(t *testing.T) {
	v := Rejected(fault.New(fault.StateDamaged, "both copies are damaged").Wrap(errors.New("checksum")))
	if text := string(v.Text(serial, time.Time{})); !strings.Contains(text, "1. both copies are damaged: checksum: hold the box's button for 10 seconds") {
		t.Errorf("got\n%s\nwant the fault with its cure", text)
	}
	for code, cure := range cures {
		if strings.Contains(cure, "sealpost ") || strings.Contains(cure, "menu") {
			t.Errorf("%s: got cure %q, want one without commands and menus", code, cure)
		}
	}
}
