//go:build !quick

package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/relay/journal"
	"sealpost/tests/rigs/parts"
)

// TestRelay_ReportsSettingsChangedOutside changes the settings in the state, as on a
// card in another machine.
func TestRelay_ReportsSettingsChangedOutside(t *testing.T) {
	chip := parts.StartSwtpm(t)
	text := fmt.Sprintf("[keys]\ntpm = %q\n[senders]\naccepted_domains = [\"contoso.com\"]\n[spool]\nsize = \"8 MiB\"\n[upstream.connector]\nhost = \"mx.contoso.com\"\n", chip.Address())
	options := boxWith(t, text)
	if events := eventsOfStart(t, options); strings.Contains(events, "settings foreign") {
		t.Errorf("settings of this box: got %s, want no event about foreign settings", events)
	}

	for name, change := range map[string]func(state.Sections){
		"another host": func(sections state.Sections) {
			sections["settings"] = bytes.Replace(sections["settings"], []byte("mx.contoso.com"), []byte("mx.attacker.example"), 1)
		},
		"no binding, and keys in clear text": func(sections state.Sections) {
			sections["settings"] = bytes.Replace(sections["settings"], []byte("[keys]"), []byte("[keys]\nprotection = \"file\""), 1)
			delete(sections, "binding")
		},
	} {
		err := options.WithStore(func(store candidate.Store) error {
			return store.Update(t.Context(), func(sections state.Sections) error {
				change(sections)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if events := eventsOfStart(t, options); !strings.Contains(events, `msg="settings foreign"`) || !strings.Contains(events, "settings-foreign") {
			t.Errorf("%s: got %s", name, events)
		}
	}
}

// TestRelay_TrustsSettingsWithoutATPMAnyMore replaces a broken TPM by keys in clear
// text: no commit can bind settings then.
func TestRelay_TrustsSettingsWithoutATPMAnyMore(t *testing.T) {
	chip := parts.StartSwtpm(t)
	const common = "[senders]\naccepted_domains = [\"contoso.com\"]\n[spool]\nsize = \"8 MiB\"\n[upstream.connector]\nhost = \"mx.contoso.com\"\n"
	sealed := fmt.Sprintf("[keys]\ntpm = %q\n", chip.Address()) + common
	clearText := "[keys]\ntpm = \"/nonexistent/tpm\"\nprotection = \"file\"\n" + common
	options := boxWith(t, sealed, clearText)
	box, err := options.Open(ExistingState)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(box.FormatSpool(t.Context()), box.Close()); err != nil {
		t.Fatal(err)
	}
	if events := eventsOfStart(t, options); strings.Contains(events, "settings foreign") {
		t.Error(events)
	}
}

// boxWith returns the options of a new state, after a commit of each of the settings.
func boxWith(t *testing.T, texts ...string) Options {
	t.Helper()
	options := Options{State: filepath.Join(t.TempDir(), "box.state")}
	parsed, err := settings.Parse([]byte(texts[0]))
	if err != nil {
		t.Fatal(err)
	}
	parsed.State.Path = options.State
	device, err := AnyState(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		c := candidate.Candidate{Settings: text}
		checker, done, err := options.Checker(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(checker.Commit(t.Context(), c), done()); err != nil {
			t.Fatal(err)
		}
	}
	return options
}

// eventsOfStart opens the spool of a relay and returns its journal.
func eventsOfStart(t *testing.T, options Options) string {
	t.Helper()
	var log strings.Builder
	box, err := options.Open(ExistingState)
	if err != nil {
		t.Fatal(err)
	}
	relay := &Relay{Box: box, Journal: journal.New(slog.NewTextHandler(&log, nil))}
	storage, err := relay.OpenSpool(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(storage.Close(), box.Close()); err != nil {
		t.Fatal(err)
	}
	return log.String()
}
