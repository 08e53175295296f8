package bundle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/state"
)

// memory is a settings area that nobody else uses.
type memory state.Sections

func (m memory) Load(context.Context) (state.Sections, error) { return state.Sections(m), nil }

func (m memory) Update(_ context.Context, change func(state.Sections) error) error {
	return change(state.Sections(m))
}

// boxWith opens a box with this settings area.
func boxWith(store memory) OpenChecker {
	return func(context.Context, candidate.Candidate) (candidate.Checker, func() error, error) {
		return candidate.Checker{Store: store, Judge: anyone}, func() error { return nil }, nil
	}
}

const minimal = "[senders]\naccepted_domains = [\"contoso.com\"]\n"

func TestApply_SetsNoBoxUpWithACertificateAlone(t *testing.T) {
	v := Apply(t.Context(), fstest.MapFS{"sealpost/contoso.pem": content("x")}, "525400123456", boxWith(memory{}))
	if v.Applied || !strings.Contains(v.String(), "sealpost: this box was never set up") {
		t.Errorf("the stick is %s", v)
	}
}

func TestApply_AppliesAStickOnce(t *testing.T) {
	stick, box := fstest.MapFS{"sealpost/sealpost.toml": content(minimal)}, boxWith(memory{})
	if v := Apply(t.Context(), stick, "1", box); !v.Applied || v.String() != "applied: sealpost/sealpost.toml" {
		t.Errorf("the stick is %s", v)
	}
	if v := Apply(t.Context(), stick, "1", box); v.Applied || !v.Before {
		t.Errorf("a second time it is %s", v)
	}
}

func TestResult_SaysWhatToDoWithWhatThereIsAtTheBox(t *testing.T) {
	closed := func(context.Context, candidate.Candidate) (candidate.Checker, func() error, error) {
		return candidate.Checker{}, nil, fault.New(fault.StateDamaged, "both copies are damaged").Wrap(errors.New("checksum"))
	}
	v := Apply(t.Context(), fstest.MapFS{"sealpost/sealpost.toml": content(minimal)}, "1", closed)
	said := string(v.Result("1", time.Time{}))
	if !strings.Contains(said, "1. both copies are damaged: checksum: hold the box's button for 10 seconds") || strings.Contains(said, "Time:") {
		t.Errorf("it says\n%s", said)
	}
	for code, cure := range words {
		if strings.Contains(cure, "sealpost ") || strings.Contains(cure, "menu") {
			t.Errorf("%s: at a PC nobody can do this: %s", code, cure)
		}
	}
}
