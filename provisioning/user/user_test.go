package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

func change(name, password string) Change {
	return Change{User: User{Name: name}, Password: Password(password)}
}

// put makes changes in sections.
func put(t *testing.T, sections state.Sections, changes ...Change) error {
	t.Helper()
	prepared, err := Prepare(t.Context(), keyring.FileSealer(nil), changes)
	if err != nil {
		t.Fatal(err)
	}
	return prepared.Put(sections)
}

func TestCheck_NamesEachFault(t *testing.T) {
	for _, c := range []struct {
		change Change
		text   string // of the error; "" for none
	}{
		{change("printer-2", "long enough"), ""},
		{change("scan@contoso.com", "~!\"#$%&'()"), ""},
		{change("", "long enough"), "cannot be the name of a user"},
		{change("two words", "long enough"), "cannot be the name of a user"},
		{change("dr\u00fccker", "long enough"), "cannot be the name of a user"},
		{change(strings.Repeat("n", maxName+1), "long enough"), "cannot be the name of a user"},
		{change("printer", "short"), "8 to 128 characters"},
		{change("printer", strings.Repeat("p", maxPassword+1)), "8 to 128 characters"},
		{change("printer", "pa\u00dfwort-lang"), "encode differently"},
		{change("printer", "with\ttab..."), "encode differently"},
		{Change{User: User{Name: "p", Senders: []string{"printer"}}, Password: "long enough"}, "is not a mail address"},
		{Change{User: User{Name: "p", Recipients: []string{"@"}}, Password: "long enough"}, "is not a mail address"},
		{Change{User: User{Name: "p", Recipients: []string{""}}, Password: "long enough"}, "is not a mail address"},
		{Change{User: User{Name: "p", Senders: []string{"@contoso.com", "a@contoso.com"}}, Password: "long enough"}, ""},
		{Change{User: User{Name: "p", Senders: make([]string, maxSenders+1)}, Password: "long enough"}, "more than 16 networks"},
		{Change{User: User{Name: "p", Clients: make([]netip.Prefix, 1)}, Password: "long enough"}, "not valid"},
		{Change{User: User{Name: "p"}, Remove: true}, ""},
	} {
		err := Check([]Change{c.change})
		if (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: got %v, want an error with %q", c.change, err, c.text)
		}
		if err != nil && c.change.Password != "" && strings.Contains(err.Error(), string(c.change.Password)) {
			t.Errorf("%v: the error shows the password: %v", c.change, err)
		}
	}
}

func TestParseClient_ReadsAddressesAndNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"192.168.10.25": "192.168.10.25/32", "192.168.10.25/24": "192.168.10.0/24", "fd00::1": "fd00::1/128", "::ffff:10.0.0.1": "10.0.0.1/32",
		"": "", "printer": "", "192.168.10.0/33": "", "fe80::1%eth0": "",
		"10.0.0.0/8": "10.0.0.0/8", "0.0.0.0/0": "", "10.0.0.1/0": "", "::/0": "", "203.0.0.0/8": "",
	} {
		got, err := ParseClient(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: got %v, %v, want %q", text, got, err, want)
		}
	}
}

func TestPut_AddsReplacesAndRemoves(t *testing.T) {
	sections := state.Sections{}
	bound := change("Printer", "first password")
	bound.Senders = []string{"printer@contoso.com"}
	if err := put(t, sections, bound, change("scanner", "other password")); err != nil {
		t.Fatal(err)
	}
	before := string(sections[Section])
	if err := put(t, sections, change("PRINTER", "second password")); !errors.Is(err, ErrExists) || string(sections[Section]) != before {
		t.Errorf("a name that exists: got %v, want %v", err, ErrExists)
	}
	if err := put(t, sections, Change{User: User{Name: "nobody"}, Remove: true}); !errors.Is(err, ErrNone) {
		t.Errorf("removing a user that does not exist: got %v, want %v", err, ErrNone)
	}
	replaced := change("printer", "second password")
	replaced.Replace, replaced.Keep, replaced.CRAMMD5 = true, true, true
	if err := put(t, sections, replaced); err != nil {
		t.Fatal(err)
	}
	if users := loaded(t, sections); len(users) != 2 || users[0].String() != "printer; CRAM-MD5; as printer@contoso.com" || users[1].String() != "scanner" {
		t.Errorf("got %v, want a replaced printer with what it was bound to", users)
	}
	replaced.Keep = false
	if err := put(t, sections, replaced, Change{User: User{Name: "SCANNER"}, Remove: true}); err != nil {
		t.Fatal(err)
	}
	if users := loaded(t, sections); len(users) != 1 || users[0].String() != "printer; CRAM-MD5" {
		t.Errorf("got %v, want the printer alone", users)
	}
	if err := put(t, sections, Change{User: User{Name: "printer"}, Remove: true}); err != nil || len(sections) != 0 {
		t.Errorf("got %v, %v, want no section without users", sections, err)
	}
}

// memory is a settings area.
type memory struct {
	sections state.Sections
	version  string
	loads    int
	err      error
}

func (m *memory) Load(context.Context) (state.Sections, error) {
	m.loads++
	return m.sections, m.err
}

func (m *memory) Version() (string, error) { return m.version, m.err }

func loaded(t *testing.T, sections state.Sections) []User {
	t.Helper()
	users, err := Load(t.Context(), &memory{sections: sections})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func TestPut_LimitsTheUsers(t *testing.T) {
	users := make(map[string]record)
	for i := range MaxUsers {
		r := record{User: User{Name: fmt.Sprintf("user%d", i)}}
		users[r.Name] = r
	}
	full, err := json.Marshal(sorted(users))
	if err != nil {
		t.Fatal(err)
	}
	sections := state.Sections{Section: full}
	if err := put(t, sections, change("another", "long enough")); err == nil || !strings.Contains(err.Error(), "at most 100 users") {
		t.Errorf("got %v, want an error with %q", err, "at most 100 users")
	}
	large := users["user0"]
	large.Senders = []string{strings.Repeat("x", maxSection)}
	users["user0"] = large
	if sections[Section], err = json.Marshal(sorted(users)); err != nil {
		t.Fatal(err)
	}
	if err := put(t, sections, Change{User: User{Name: "user1"}, Remove: true}); err == nil || !strings.Contains(err.Error(), "more room") {
		t.Errorf("got %v, want an error with %q", err, "more room")
	}
}

func TestPut_ReplacesDamagedUsers(t *testing.T) {
	sections := state.Sections{Section: []byte("{")}
	if _, err := Load(t.Context(), &memory{sections: sections}); err == nil || !strings.Contains(err.Error(), "add the users again") {
		t.Errorf("got %v, want an error with %q", err, "add the users again")
	}
	if err := put(t, sections, change("printer", "long enough")); err != nil || len(loaded(t, sections)) != 1 {
		t.Errorf("got %v, want the new user", err)
	}
}

func TestChange_PrintsNoPassword(t *testing.T) {
	c := change("printer", "very secret")
	c.CRAMMD5 = true
	prepared, err := Prepare(t.Context(), keyring.FileSealer(nil), []Change{c})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(format, []any{c, &c, c.Password, []Change{c}, prepared, NewDirectory(&memory{}, keyring.FileSealer(nil), nil)})
		if strings.Contains(text, "very secret") || strings.Contains(text, "7665727920") {
			t.Errorf("%s prints the password: %s", format, text)
		}
	}
}
