package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func storedFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "stored", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keysOf are the keys that errors are about.
func keysOf(all Errors) (keys []string) {
	for _, e := range all {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestParseStored_ReadsSettingsOfThePreviousVersion(t *testing.T) {
	text := storedFile(t, "schema-1.toml")
	for _, schema := range []int{0, 1} { // 0 if there is none
		s, err := ParseStored(text, schema)
		if err != nil || s.Ignored != nil || s.Schema != 1 {
			t.Fatalf("got %v, schema %d, ignored %v, want schema 1 and none ignored", err, s.Schema, s.Ignored)
		}
		if want, err := Parse(text); err != nil || !reflect.DeepEqual(s.Settings, want) {
			t.Errorf("got %+v, want %+v, %v", s.Settings, want, err)
		}
	}
}

func TestParseStored_ReadsANewerSchemaAndReportsIgnoredKeys(t *testing.T) {
	s, err := ParseStored(storedFile(t, "schema-2.toml"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keysOf(s.Ignored), []string{"lan.greylist", "network.ipv6", "journal.format", "retry.longest", "retry", "archive"}; !sameSet(got, want) {
		t.Errorf("got ignored %q, want %q", got, want)
	}
	if s.Schema != 2 || s.Network.Address.String() != "192.168.10.25/24" || s.Senders.AcceptedDomains[0] != "contoso.com" || len(s.LAN.Allow) != 1 {
		t.Errorf("got %+v, want the known settings of schema 2", s)
	}
	// The known delay is longer than the default for the unknown one, so both are dropped.
	if s.Journal.Format != FormatText || s.Retry != Default().Retry {
		t.Errorf("got journal %+v, retry %+v, want the defaults", s.Journal, s.Retry)
	}
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestParseStored_RejectsAnUnknownMethodAndKeepsTheNetwork(t *testing.T) {
	s, err := ParseStored(storedFile(t, "schema-2-method.toml"), 2)
	var refused *StoredError
	if !errors.As(err, &refused) || !slices.Equal(keysOf(refused.Faults), []string{"upstream.method"}) {
		t.Fatalf("got %v, want a fault of upstream.method", err)
	}
	for _, text := range []string{"schema 2, this version reads schema 1", `"quantum" is not a delivery method`, "install the version again that wrote them, or replace them"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in:\n%v", text, err)
		}
	}
	n := s.Network
	if n.Address.String() != "192.168.10.25/24" || n.Gateway.String() != "192.168.10.1" || len(n.DNS) != 1 || n.Name != "relay-leeds" {
		t.Errorf("got network %+v, want the stored one", n)
	}
}

func TestParseStored_UsesADefaultOnlyWhereThatIsSafe(t *testing.T) {
	const minimal = "senders.accepted_domains = [\"contoso.com\"]\n"
	submission := "upstream.method = \"submission\"\nupstream.submission.user = \"relay@contoso.com\"\nupstream.oauth.client_id = \"8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10\"\n"
	for text, ignored := range map[string]string{
		minimal + "upstream.hold = \"auto\"\n":              "upstream.hold",
		minimal + "limits.connections = \"auto\"\n":         "limits.connections",
		minimal + "site = 5\n":                              "site",
		minimal + "keys.protection = \"enclave\"\n":         "keys.protection",
		minimal + "network.address = \"slaac\"\n":           "network.address",
		minimal + "network.gateway = \"192.168.1.1\"\n":     "network.gateway",
		minimal + "spool.size = \"1MiB\"\n":                 "spool.size",
		minimal + "upstream.oauth.grant = \"passkey\"\n":    "upstream.oauth.grant", // read by another method only
		submission + "upstream.oauth.algorithm = \"ES9\"\n": "upstream.oauth.algorithm",
		submission + "upstream.connector.host = 5\n":        "upstream.connector.host",
	} {
		s, err := ParseStored([]byte(text), 2)
		if err != nil || !slices.Equal(keysOf(s.Ignored), []string{ignored}) || s.Validate() != nil {
			t.Errorf("%q: got %v, ignored %q, want ignored %q", text, err, s.Ignored, ignored)
		}
	}
	for text, fault := range map[string]string{
		"": "senders.accepted_domains",
		minimal + "lan.allow = [\"10.0.0.0/8\", \"vlan:7\"]\n":                            "lan.allow",
		minimal + "lan.smtp = [\"vsock:25\"]\n":                                           "lan.smtp",
		minimal + "upstream.connector.host = \"a host\"\n":                                "upstream.connector.host",
		minimal + "upstream.connector.ca = \"sha256:00\"\n":                               "upstream.connector.ca",
		submission + "upstream.oauth.grant = \"passkey\"\n":                               "upstream.oauth.grant",
		submission + "upstream.submission.own_mailbox = [\"*\"]\n":                        "upstream.submission.own_mailbox",
		minimal + "network.address = \"10.0.0.7/24\"\nnetwork.dns = [\"https://dns/\"]\n": "network.dns",
		"senders = \"all\"\n":                                                              "senders",
		"senders.accepted_domains = [\"contoso.com\"\n":                                    "",
		minimal + strings.Repeat("#", MaxText):                                             "",
		"upstream.method = \"quantum\"\nnetwork.gateway = \"10.0.0.1\"\nlimits.memory = 0": "upstream.method",
	} {
		_, err := ParseStored([]byte(text), 2)
		var refused *StoredError
		if !errors.As(err, &refused) || refused.Faults[0].Key != fault {
			t.Errorf("%.80q: got %v, want a fault of %s", text, err, fault)
		}
	}
}

func TestParseStored_MigratesAnOlderSchema(t *testing.T) {
	renamed := migration(func(tree map[string]any) error {
		if site, ok := tree["place"]; ok {
			tree["site"] = site
			delete(tree, "place")
		}
		return nil
	})
	failing := migration(func(map[string]any) error { return errors.New("no site: name it") })
	text := []byte("[network]\nname = \"leeds\"\n[place]\nname = \"Leeds\"\n[senders]\naccepted_domains = [\"contoso.com\"]\n")
	s, _, err := parseStored(text, 1, []migration{renamed})
	if err != nil || s.Site.Name != "Leeds" || s.Ignored != nil || s.Schema != 1 {
		t.Errorf("got %+v, %v, want the site Leeds in schema 1", s, err)
	}
	if s, _, err = parseStored(text, 2, []migration{renamed}); err != nil || !slices.Equal(keysOf(s.Ignored), []string{"place"}) {
		t.Errorf("settings that are already in schema 2: got %v, ignored %q, want place ignored", err, s.Ignored)
	}
	if s, _, err := parseStored(text, 1, []migration{renamed, failing}); err == nil || !strings.Contains(err.Error(), "from schema 2 to 3: no site") || s.Network.Name != "leeds" {
		t.Errorf("a failed migration: got %v, network %+v, want its error and the stored network", err, s.Network)
	}
	edited, dropped, err := editStored(text, 1, []migration{renamed})
	if reparsed, failed := Parse(edited); err != nil || failed != nil || dropped != nil || reparsed.Site.Name != "Leeds" {
		t.Errorf("edited: got %v, %v, dropped %q, want the site Leeds:\n%s", err, failed, dropped, edited)
	}
}

func TestSchema_HasAMigrationForEachStep(t *testing.T) {
	if len(migrations) != Schema-1 {
		t.Errorf("got %d migrations, want %d", len(migrations), Schema-1)
	}
}

func TestEditStored_ReturnsValidSettingsAndReportsDroppedKeys(t *testing.T) {
	plain := storedFile(t, "schema-1.toml")
	if edited, dropped, err := EditStored(plain, 1); err != nil || dropped != nil || string(edited) != string(plain) {
		t.Errorf("got %v, dropped %q, want the same text:\n%s", err, dropped, edited)
	}
	edited, dropped, err := EditStored(storedFile(t, "schema-2.toml"), 2)
	if err != nil || !sameSet(keysOf(dropped), []string{"lan.greylist", "network.ipv6", "journal.format", "retry.longest", "retry", "archive"}) {
		t.Errorf("got %v, dropped %q, want the unknown keys dropped", err, dropped)
	}
	if s, err := Parse(edited); err != nil || s.Network.Address.String() != "192.168.10.25/24" {
		t.Errorf("parsing the edited settings: got %v, want the stored address:\n%s", err, edited)
	}
	var refused *StoredError
	if _, _, err := EditStored(storedFile(t, "schema-2-method.toml"), 2); !errors.As(err, &refused) {
		t.Errorf("without a method: got %v, want %T", err, refused)
	}
}

func TestStoredError_OffersAnotherCureThanSetup(t *testing.T) {
	for _, text := range []string{"not TOML", "[upstream]\nmethod = \"quantum\"\n", ""} {
		for _, schema := range []int{1, 2} {
			_, err := ParseStored([]byte(text), schema)
			if err == nil || strings.Contains(err.Error(), "set the box up again") || !strings.Contains(err.Error(), "install the version again") {
				t.Errorf("%q: got %v, want the advice to install the version again", text, err)
			}
		}
	}
}

// A text that Parse accepts is also accepted as stored settings, and stored settings
// can be edited into a text that Parse accepts.
func FuzzParseStored(f *testing.F) {
	for _, name := range []string{"schema-1.toml", "schema-2.toml", "schema-2-method.toml"} {
		f.Add(storedFile(f, name), 2)
	}
	f.Add([]byte("senders.accepted_domains = ['a.example']\n[retry]\nfirst = '9h'\nx.\"y.z\" = 1\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, schema int) {
		strict, refused := Parse(text)
		s, err := ParseStored(text, schema)
		if refused == nil && (err != nil || len(s.Ignored) > 0 || !reflect.DeepEqual(s.Settings, strict)) {
			t.Errorf("got %v, ignored %q, want the same as Parse returns", err, s.Ignored)
		}
		edited, _, failed := EditStored(text, schema)
		if (failed == nil) != (err == nil) {
			t.Errorf("got read error %v and edit error %v, want both or neither", err, failed)
		}
		if failed != nil {
			return
		}
		if reparsed, err := Parse(edited); err != nil || !reflect.DeepEqual(reparsed, s.Settings) {
			t.Errorf("edited: got %v\n%s\nparsed %+v\nwant   %+v", err, edited, reparsed, s.Settings)
		}
	})
}

func TestParseStored_NeverAllowsMoreClientsForAnUnknownKey(t *testing.T) {
	const known = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
	for name, c := range map[string]struct {
		text   string
		schema int
		allow  int // networks
		usable bool
	}{
		"a quoted key with a dot":   {"\"lan.allow\" = 1\n" + known + "[lan]\nallow = [\"10.1.0.0/16\"]\n", Schema + 1, 1, true},
		"another key beside allow":  {known + "[lan]\nallow = [\"10.1.0.0/16\"]\ngreylist = true\n", Schema + 1, 1, true},
		"another key without allow": {known + "[lan]\nnetworks = [\"10.1.0.0/16\"]\n", Schema + 1, 0, false},
		"allow in another spelling": {known + "[lan]\nAllow = [\"10.1.0.0/16\"]\n", Schema + 1, 0, false},
		"another key for method":    {known + "[upstream]\nway = \"submission\"\n", Schema + 1, 0, false},
		"our own schema":            {known + "[lan]\ngreylist = true\n", Schema, 0, true},
	} {
		stored, err := ParseStored([]byte(c.text), c.schema)
		if (err == nil) != c.usable || len(stored.LAN.Allow) != c.allow {
			t.Errorf("%s: got %v, allow %v, want usable %t and %d networks", name, err, stored.LAN.Allow, c.usable, c.allow)
		}
		if !c.usable {
			continue
		}
		edited, _, err := EditStored([]byte(c.text), c.schema)
		if err != nil {
			t.Errorf("%s: editing: %v", name, err)
		}
		if reparsed, err := Parse(edited); err != nil || len(reparsed.LAN.Allow) != c.allow {
			t.Errorf("%s: got edited to %v, %v, want %d networks\n%s", name, reparsed.LAN.Allow, err, c.allow, edited)
		}
	}
}
