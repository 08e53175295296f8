package candidate

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
	"sealpost/tests/rigs/parts"
)

const (
	before = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
	after  = before + "[network]\nname = \"other\"\n"
)

// memory is a Store that counts its writes and can be made to fail.
type memory struct {
	mu       sync.Mutex
	sections state.Sections
	writes   int
	broken   error
}

func (m *memory) Load(context.Context) (state.Sections, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.sections), nil
}

// fail makes every Update return err, until it is nil.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *memory) Update(_ context.Context, change func(state.Sections) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	sections := maps.Clone(m.sections)
	if sections == nil {
		sections = state.Sections{}
	}
	if err := errors.Join(change(sections), m.broken); err != nil {
		return err
	}
	m.sections, m.writes = sections, m.writes+1
	return nil
}

func checker(m Store) Checker {
	return Checker{
		Store: m,
		Protect: func(_ context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
			return keyring.ProtectInFile(key, binding)
		},
		Sealer:    keyring.FileSealer(nil),
		CheckPath: func(certificate.Path) error { return nil },
		CheckServer: func(path certificate.Path) error {
			if path.Chain[0].VerifyHostname("relay.contoso.com") != nil {
				return errors.New("not for this box")
			}
			return nil
		},
	}
}

func pfx(t *testing.T, password string) []byte {
	t.Helper()
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := authority.IssueP256(nil, "relay.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	data, err := parts.PFX(issued, password)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func commit(t *testing.T, m Store, c Candidate) {
	t.Helper()
	if err := checker(m).Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func running(t *testing.T, m *memory) Running {
	t.Helper()
	r, err := Load(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCommit_WritesEverythingAtOnce(t *testing.T) {
	m, number := &memory{}, "4711"
	commit(t, m, Candidate{Settings: before, PFX: pfx(t, "secret"), Password: "secret", PIN: &number, Origin: "a"})
	if m.writes != 1 {
		t.Errorf("%d writes", m.writes)
	}
	if got := running(t, m); got != (Running{Settings: before, Schema: 1, Locked: true}) {
		t.Errorf("running %+v", got)
	}
	client, err := identity.Load(t.Context(), m)
	if err != nil || client.Chain[0].Subject.CommonName != "relay.contoso.com" {
		t.Errorf("certificate %v, %v", client.Chain, err)
	}
	for digits, want := range map[string]bool{"4711": true, "4712": false} {
		if opens, _, err := Unlock(t.Context(), m, digits); err != nil || opens != want {
			t.Errorf("%s: got %v, %v, want %v", digits, opens, err, want)
		}
	}
	if applied, err := Applied(t.Context(), m, "a"); err != nil || !applied {
		t.Errorf("got applied %v, %v, want true", applied, err)
	}
}

func TestCommit_ChangesNothingAndNamesEachFault(t *testing.T) {
	good, short := pfx(t, "secret"), "12"
	for _, c := range []struct {
		name      string
		candidate Candidate
		want      []string
	}{
		{"nothing", Candidate{}, []string{"nothing to change"}},
		{"settings", Candidate{Settings: "[lan]\n", PFX: good, Password: "secret"}, []string{"senders.accepted_domains"}},
		{"password", Candidate{Settings: before, PFX: good, Password: "guess"}, []string{"password"}},
		{"all at once", Candidate{Settings: "x", PFX: good[:100], PIN: &short}, []string{"not TOML", "PFX", "4 to 16 digits"}},
		{"two certificates", Candidate{PFX: good, PEM: []byte("x")}, []string{"leave one of them out"}},
		{"PEM without a request", Candidate{PEM: []byte("x")}, []string{"PEM"}},
	} {
		m := &memory{sections: state.Sections{sectionSettings: []byte(before)}}
		for what, do := range map[string]func(context.Context, Candidate) error{"check": checker(m).Check, "commit": checker(m).Commit} {
			err := do(t.Context(), c.candidate)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %s: got %v, want %q", c.name, what, err, want)
				}
			}
		}
		if m.writes != 0 {
			t.Errorf("%s: written", c.name)
		}
	}
}

func TestCheck_WritesNothing(t *testing.T) {
	m := &memory{}
	if err := checker(m).Check(t.Context(), Candidate{Settings: before, PFX: pfx(t, "secret"), Password: "secret"}); err != nil || m.writes != 0 {
		t.Errorf("%v, %d writes", err, m.writes)
	}
}

func TestTrial_IsRolledBackUnlessConfirmed(t *testing.T) {
	m := &memory{}
	commit(t, m, Candidate{Settings: before, Trial: true})
	if running(t, m).Trial {
		t.Error("the first settings are on trial")
	}
	commit(t, m, Candidate{Settings: after, Trial: true})
	commit(t, m, Candidate{Settings: after + "#", Trial: true})
	if got := running(t, m); got != (Running{Settings: after + "#", Schema: 1, Trial: true}) {
		t.Fatalf("on trial: got %+v, want %+v", got, (Running{Settings: after + "#", Schema: 1, Trial: true}))
	}
	if rolled, err := rollBack(t.Context(), m); err != nil || !rolled {
		t.Fatalf("got %v, %v", rolled, err)
	}
	if got := running(t, m); got != (Running{Settings: before, Schema: 1}) {
		t.Errorf("rolled back to %+v", got)
	}
	if rolled, err := rollBack(t.Context(), m); err != nil || rolled {
		t.Errorf("a second time: got %v, %v, want false", rolled, err)
	}
}

func TestCommit_RefusesToReplaceNewerSettings(t *testing.T) {
	var m memory
	commit(t, &m, Candidate{Settings: before, Base: Version("")})
	if err := checker(&m).Commit(t.Context(), Candidate{Settings: after, Base: Version("")}); !errors.Is(err, ErrOvertaken) {
		t.Errorf("over settings that came meanwhile: got %v, want %v", err, ErrOvertaken)
	}
	if got := running(t, &m).Settings; got != before || m.writes != 1 {
		t.Errorf("%d writes, in force:\n%s", m.writes, got)
	}
	commit(t, &m, Candidate{Settings: after, Base: Version(before)})
	commit(t, &m, Candidate{Settings: before})
}

func TestTrial_StaysOnceConfirmed(t *testing.T) {
	m := &memory{}
	commit(t, m, Candidate{Settings: before})
	commit(t, m, Candidate{Settings: after, Trial: true})
	if err := confirm(t.Context(), m, before); !errors.Is(err, ErrOvertaken) || !running(t, m).Trial {
		t.Errorf("settings that were not applied yet: got %v, want %v and the trial to continue", err, ErrOvertaken)
	}
	if err := confirm(t.Context(), m, after); err != nil {
		t.Fatal(err)
	}
	if rolled, err := rollBack(t.Context(), m); err != nil || rolled || running(t, m).Settings != after {
		t.Errorf("%v, %v, %+v", rolled, err, running(t, m))
	}
}

func TestSettings_KeepTheirSchema(t *testing.T) {
	newer := state.Sections{sectionSettings: []byte(before), sectionSchema: []byte("7")}
	for name, c := range map[string]struct {
		end  func(context.Context, Store) error
		want Running
	}{
		"confirmed":   {func(ctx context.Context, s Store) error { return confirm(ctx, s, after) }, Running{Settings: after, Schema: settings.Schema}},
		"rolled back": {func(ctx context.Context, s Store) error { _, err := rollBack(ctx, s); return err }, Running{Settings: before, Schema: 7}},
	} {
		m := &memory{sections: maps.Clone(newer)}
		commit(t, m, Candidate{Settings: after, Trial: true})
		if got := running(t, m); got != (Running{Settings: after, Schema: settings.Schema, Trial: true}) {
			t.Errorf("%s: on trial %+v", name, got)
		}
		if err := c.end(t.Context(), m); err != nil || running(t, m) != c.want || len(m.sections) != 2 {
			t.Errorf("%s: %v, %+v in %v", name, err, running(t, m), m.sections)
		}
	}
}

func TestLoad_AssumesTheFirstSchema(t *testing.T) {
	for _, number := range []string{"", "x", "-3"} {
		m := &memory{sections: state.Sections{sectionSettings: []byte(before), sectionSchema: []byte(number)}}
		if got := running(t, m).Schema; got != 1 {
			t.Errorf("%q is %d", number, got)
		}
	}
}

func TestLoadSettings_ReadsWhatANewerVersionStored(t *testing.T) {
	m := &memory{sections: state.Sections{sectionSettings: []byte(before + "[archive]\nkeep = 1\n"), sectionSchema: []byte("2")}}
	if s, err := LoadSettings(t.Context(), m); err != nil || s.Schema != 2 || len(s.Ignored) != 1 || s.Ignored[0].Key != "archive" {
		t.Errorf("%v, ignored %v", err, s.Ignored)
	}
	if got := running(t, m).Settings; !strings.Contains(got, "archive") {
		t.Errorf("got stored settings without the unknown key:\n%s", got)
	}
	var refused *settings.StoredError
	if _, err := LoadSettings(t.Context(), &memory{sections: state.Sections{sectionSettings: []byte("upstream.method = 'quantum'")}}); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if _, err := LoadSettings(t.Context(), &memory{}); !errors.Is(err, ErrFactory) {
		t.Errorf("got %v, want %v", err, ErrFactory)
	}
}

func TestLoad_ReportsTheFactoryState(t *testing.T) {
	if _, err := Load(t.Context(), &memory{}); !errors.Is(err, ErrFactory) {
		t.Errorf("got %v, want %v", err, ErrFactory)
	}
}

func TestCommit_LimitsTheListOfOrigins(t *testing.T) {
	m := &memory{}
	for i := range 2 * maxOrigins {
		commit(t, m, Candidate{Settings: before, Origin: fmt.Sprint(i)})
	}
	sections, _ := m.Load(t.Context())
	if known := origins(sections); len(known) != maxOrigins || known[maxOrigins-1] != fmt.Sprint(2*maxOrigins-1) {
		t.Errorf("%d origins, the last %s", len(known), known[len(known)-1])
	}
	commit(t, m, Candidate{Settings: after})
	if last, err := LastOrigin(t.Context(), m); err != nil || last != fmt.Sprint(2*maxOrigins-1) {
		t.Errorf("got last origin %q, %v, want %d", last, err, 2*maxOrigins-1)
	}
}

func TestCandidate_PrintsWithoutSecrets(t *testing.T) {
	number := "4711"
	c := Candidate{Settings: before, Password: "hunter2", PIN: &number}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, c) + fmt.Sprintf(verb, c.Password); strings.Contains(text, "hunter2") || strings.Contains(text, number) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestCandidate_KeepsItsUsersBetweenProcesses(t *testing.T) {
	sent := Candidate{Users: []user.Change{{User: user.User{Name: "printer", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Password: "long enough", Replace: true}}}
	encoded, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var received Candidate
	if err := json.Unmarshal(encoded, &received); err != nil || !reflect.DeepEqual(received, sent) {
		t.Errorf("got %v, %v", received.Users, err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", sent, sent, sent); strings.Contains(printed, "long enough") {
		t.Errorf("prints the password: %s", printed)
	}
}

func TestCommit_StoresUsersAndTheSitesCertificateInOneWrite(t *testing.T) {
	m := &memory{}
	printer := user.Change{User: user.User{Name: "printer"}, Password: "long enough"}
	commit(t, m, Candidate{Settings: before, Users: []user.Change{printer}, LAN: pfx(t, "p"), LANPassword: "p"})
	users, err := user.Load(t.Context(), m)
	if err != nil || len(users) != 1 || m.writes != 1 {
		t.Fatalf("got users %v, %v after %d writes", users, err, m.writes)
	}
	if lines, err := identity.DescribeLAN(t.Context(), m); err != nil || len(lines) != 1 {
		t.Errorf("got %q, %v, want the site's certificate", lines, err)
	}
	for name, c := range map[string]Candidate{
		"a wrong password":       {LAN: pfx(t, "p"), LANPassword: "q"},
		"a user that exists":     {Users: []user.Change{printer}, RemoveLAN: true},
		"a short password":       {Users: []user.Change{{User: user.User{Name: "scanner"}, Password: "short"}}},
		"another's name":         {Users: []user.Change{{User: user.User{Name: "a b"}, Remove: true}}},
		"nothing that it can do": {},
	} {
		if err := checker(m).Commit(t.Context(), c); err == nil || m.writes != 1 {
			t.Errorf("%s: got %v after %d writes, want an error and no write", name, err, m.writes)
		}
	}
	commit(t, m, Candidate{RemoveLAN: true, Users: []user.Change{{User: printer.User, Remove: true}}})
	if err := checker(m).Commit(t.Context(), Candidate{RemoveLAN: true}); !errors.Is(err, identity.ErrNoSite) {
		t.Errorf("got %v, want %v", err, identity.ErrNoSite)
	}
}
