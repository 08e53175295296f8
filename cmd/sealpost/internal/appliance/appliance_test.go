package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/led"
	"sealpost/hal/linux/network"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/relay/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newStorage returns an empty state device.
func newStorage(t *testing.T) *storage {
	t.Helper()
	path := filepath.Join(t.TempDir(), "box.state")
	if err := flash.Create(path, state.AreaSize+1<<20); err != nil {
		t.Fatal(err)
	}
	s := openStorage(path, "")
	if s.fault != nil {
		t.Fatal(s.fault)
	}
	t.Cleanup(func() { _ = s.device.Close() })
	return s
}

func newTestGroup(t *testing.T) *group {
	t.Helper()
	g := newGroup(t.Context(), journal.Discard())
	t.Cleanup(g.stop)
	return g
}

// fakeRelay records its calls.
type fakeRelay struct {
	calls   []string
	running bool
}

func (r *fakeRelay) startServing()   { r.calls, r.running = append(r.calls, "startServing"), true }
func (r *fakeRelay) stopServing()    { r.calls, r.running = append(r.calls, "stopServing"), false }
func (r *fakeRelay) restart()        { r.calls = append(r.calls, "restart") }
func (r *fakeRelay) serving() bool   { return r.running }
func (r *fakeRelay) listen([]string) {}

// fakeNetwork records the last configuration.
type fakeNetwork struct{ config network.Config }

func (n *fakeNetwork) apply(c network.Config) { n.config = c }

const minimal = "[senders]\naccepted_domains = [\"contoso.com\"]\n"

func commit(t *testing.T, s *storage, c candidate.Candidate) {
	t.Helper()
	if err := (candidate.Checker{Store: s.store, Sealer: keyring.FileSealer(nil)}).Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestConfiguration_StartsTheRelayWithTheFirstSettingsAndRestartsItWithOthers(t *testing.T) {
	s, relay, port := newStorage(t), &fakeRelay{}, &fakeNetwork{}
	c := newConfiguration(newTestGroup(t), s, relay, port)
	c.adopt(t.Context())
	if factory, unreadable := c.condition(); !factory || unreadable {
		t.Error("a new box is not taken for one")
	}
	commit(t, s, candidate.Candidate{Settings: minimal})
	c.Reload(t.Context())
	commit(t, s, candidate.Candidate{Settings: minimal + "[network]\nname = \"other\"\n"})
	c.Reload(t.Context())
	if want := []string{"stopServing", "startServing", "restart"}; !slices.Equal(relay.calls, want) || port.config.Hostname != "other" || c.hostname() != "other" {
		t.Errorf("calls of the relay %q, network %+v", relay.calls, port.config)
	}
}

func TestConfiguration_ThatCannotBeReadLeavesTheRunningRelayAlone(t *testing.T) {
	s, relay := newStorage(t), &fakeRelay{}
	c := newConfiguration(newTestGroup(t), s, relay, &fakeNetwork{})
	commit(t, s, candidate.Candidate{Settings: minimal})
	c.Reload(t.Context())
	if err := s.store.Update(t.Context(), func(sections state.Sections) error {
		sections["settings"] = []byte("not TOML at all")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.Reload(t.Context())
	factory, unreadable := c.condition()
	if !slices.Equal(relay.calls, []string{"startServing"}) || factory || !unreadable {
		t.Errorf("calls of the relay %q, factory %v, unreadable %v", relay.calls, factory, unreadable)
	}
}

func TestConfiguration_KeepsTheNetworkOfSettingsThatItCannotUse(t *testing.T) {
	s, relay, port := newStorage(t), &fakeRelay{}, &fakeNetwork{}
	const newer = "[network]\naddress = \"192.168.10.25/24\"\ngateway = \"192.168.10.1\"\ndns = [\"192.168.10.1\"]\nname = \"leeds\"\n[upstream]\nmethod = \"quantum\"\n"
	if err := s.store.Update(t.Context(), func(sections state.Sections) error {
		sections["settings"], sections["settings schema"] = []byte(newer), []byte("2")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c := newConfiguration(newTestGroup(t), s, relay, port)
	c.adopt(t.Context())
	if port.config.Address.String() != "192.168.10.25/24" || c.hostname() != "leeds" || !slices.Equal(relay.calls, []string{"stopServing"}) {
		t.Errorf("network %+v, calls of the relay %q", port.config, relay.calls)
	}
	var unusable *settings.StoredError
	if _, err := (wire.Options{State: s.path}).Settings(); !errors.As(err, &unusable) || fault.CodeOf(err) != fault.SettingsInvalid {
		t.Errorf("the relay got %v", err)
	}
}

func TestStorage_ThatIsMissingIsNamedAndRefusesWhatNeedsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	s := &storage{path: path, fault: errNoStorage.With("path", path).Wrap(errors.New("it did not appear"))}
	if s.candidateStore() != nil || !errors.Is(s.err(), errNoStorage) || s.handOver() != nil || !errors.Is(s.erase(t.Context()), errNoStorage) {
		t.Errorf("got %v", s.err())
	}
	g := newTestGroup(t)
	keeper := &timekeeper{group: g, storage: s}
	if keeper.store(clock.Record{Last: time.Now()}); keeper.load() != (clock.Record{}) {
		t.Errorf("got %v, want nothing", keeper.load())
	}
	relay := &fakeRelay{}
	c := newConfiguration(g, s, relay, &fakeNetwork{})
	c.adopt(t.Context())
	if !slices.Equal(relay.calls, []string{"stopServing"}) {
		t.Errorf("calls of the relay %q", relay.calls)
	}
}

func TestRelayProcess_IsNotStartedWhileTheBoxIsBeingReset(t *testing.T) {
	g := newTestGroup(t)
	r := newRelayProcess(g, new(Appliance{group: g}).child("relay", []string{"/bin/true"}))
	r.child.User, r.child.Group, r.child.Capabilities = 0, 0, nil
	r.forbid()
	if r.startServing(); r.serving() {
		t.Error("settings that are applied meanwhile start it")
	}
	r.allow()
	if r.startServing(); !r.serving() {
		t.Error("the relay is not started after a failed reset")
	}
	r.stopServing()
}

func TestRelayProcess_MissesTheTPMOnlyAfterTheModulesAreLoaded(t *testing.T) {
	for name, c := range map[string]struct {
		appears bool
		faults  int
	}{"a module creates it": {true, 0}, "there is none": {false, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			ctx, cancel := context.WithCancel(t.Context())
			g := newGroup(ctx, journal.New(slog.NewTextHandler(&log, nil)))
			r := newRelayProcess(g, new(Appliance{group: g}).child("relay", []string{"/bin/true"}))
			chip, loaded := filepath.Join(t.TempDir(), "tpm"), make(chan struct{})
			g.spawn(func(ctx context.Context) { r.handOverTPM(ctx, chip, loaded) })
			time.Sleep(10 * wire.TPMTimeout)
			if c.appears {
				if err := os.WriteFile(chip, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			close(loaded)
			time.Sleep(10 * wire.TPMTimeout)
			cancel()
			g.stop()
			if got := strings.Count(log.String(), "check that the TPM is fitted"); got != c.faults {
				t.Errorf("%s: %d faults:\n%s", name, got, log.String())
			}
		})
	}
}

func TestLamp_DistinguishesUnreadableSettingsFromANewBox(t *testing.T) {
	g := newTestGroup(t)
	for shown, c := range map[*led.Pattern]*configuration{
		led.Factory:   {},
		led.Unhealthy: {settings: new(settings.Default()), unreadable: true},
	} {
		l := &lamp{configuration: c, relay: newRelayProcess(g, new(Appliance{group: g}).child("relay", nil)), health: &health{}}
		if got := led.PatternFor(l.condition()); got != shown {
			t.Errorf("got lamp pattern for %q, want %q", got.Means, shown.Means)
		}
	}
}

func TestStickOutcome_OfAStickWhoseProcessWasEndedAfterItsCommitIsApplied(t *testing.T) {
	a := &Appliance{group: newTestGroup(t), storage: newStorage(t)}
	silent := func() *json.Decoder { return json.NewDecoder(strings.NewReader("")) }
	if v := a.stickOutcome(t.Context(), silent(), ""); v.Applied || len(v.Faults) != 1 {
		t.Errorf("before its commit: got %v, want a fault", v)
	}
	commit(t, a.storage, candidate.Candidate{Settings: minimal, Origin: "a"})
	if v := a.stickOutcome(t.Context(), silent(), ""); !v.Applied || len(v.Faults) != 0 {
		t.Errorf("after its commit: got %v, want it applied", v)
	}
	if v := a.stickOutcome(t.Context(), silent(), "a"); v.Applied {
		t.Errorf("a stick that changed nothing after one that did: got %v, want it not applied", v)
	}
}

func TestGroup_RestartsAComponentThatExitsAndEndsWithItsContext(t *testing.T) {
	g := newGroup(t.Context(), journal.Discard())
	ran := make(chan struct{}, 1)
	g.keep("part", func(ctx context.Context) error {
		select {
		case ran <- struct{}{}:
		default:
		}
		return fault.New(fault.NoState, "it failed")
	})
	g.every(time.Hour, func(context.Context) { ran <- struct{}{} })
	<-ran
	<-ran
	g.stop() // waits for both
}
