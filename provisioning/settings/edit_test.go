package settings

import (
	"strings"
	"testing"
)

const editable = `# The site.
[senders]
accepted_domains = ["contoso.com"] # ours

[[device]]
# bought in 2011
address = "10.0.0.1"
name = "Old"
senders = [
  "a@contoso.com", # a list
  "b@contoso.com",
]

# the next one
[[device]]
mac = "00:1e:8f:12:34:56"

[journal]
format = "json"
`

func TestEditDevice_ChangesOneDeviceOnly(t *testing.T) {
	for _, c := range []struct {
		name, which string
		changes     map[string]string
		want        string // what is new, or the error
		fails       bool
	}{
		{"change", "10.0.0.1", map[string]string{"name": "New", "tls": "legacy", "connections": "5", "senders": ""},
			"[[device]]\naddress = '10.0.0.1'\nname = 'New'\ntls = 'legacy'\nconnections = 5\n# bought in 2011\n\n# the next one\n", false},
		{"by MAC", "00-1E-8F-12-34-56", map[string]string{"refuse": "true", "message_size": "20MiB"},
			"[[device]]\nmac = '00:1e:8f:12:34:56'\nrefuse = true\nmessage_size = '20MiB'\n\n[journal]\n", false},
		{"add", "10.0.0.2", map[string]string{"recipients": "own, x@fabrikam.com", "silent_after": "26h"},
			"format = \"json\"\n\n[[device]]\naddress = '10.0.0.2'\nrecipients = ['own', 'x@fabrikam.com']\nsilent_after = '26h0m0s'\n", false},
		{"unknown key", "10.0.0.1", map[string]string{"colour": "red"}, `there is no setting "colour" of a device: choose from name, refuse, tls`, true},
		{"another address", "10.0.0.1", map[string]string{"address": "10.0.0.2"}, `there is no setting "address"`, true},
		{"bad value", "10.0.0.1", map[string]string{"tls": "old"}, `tls: "old" is not a value of tls`, true},
		{"bad number", "10.0.0.1", map[string]string{"connections": "many"}, "connections: must be a whole number", true},
		{"sender of another domain", "10.0.0.1", map[string]string{"sender": "a@gmail.com"}, "is in gmail.com, which is not among", true},
		{"not an address", "printer", nil, `"printer" is not an address`, true},
		{"injection", "10.0.0.1", map[string]string{"name": "x\"\n[lan]\nallow = [\"0.0.0.0/1\"]"}, "invisible character", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := EditDevice([]byte(editable), c.which, c.changes)
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil || !strings.Contains(string(got), c.want) {
				t.Errorf("got %v\n%s\nwant in it\n%s", err, got, c.want)
			}
			if !strings.HasPrefix(string(got), "# The site.\n[senders]\naccepted_domains = [\"contoso.com\"] # ours\n") {
				t.Errorf("got another beginning:\n%s", got)
			}
		})
	}
}

func TestEditDevice_WorksOnAnyForm(t *testing.T) {
	for _, text := range []string{
		"senders.accepted_domains = [\"contoso.com\"]",
		"device = [{ address = \"10.0.0.9\" }]\n[senders]\naccepted_domains = [\"contoso.com\"]\n",
		"[senders]\naccepted_domains = [\"contoso.com\"]\n[[device]]\naddress=\"10.0.0.1\"\nname=\"\"\"\n[[device]]\"\"\"",
		"[senders]\r\naccepted_domains = [\"contoso.com\"]\r\n\r\n[[device]]\r\naddress = \"10.0.0.1\"\r\n",
	} {
		got, err := EditDevice([]byte(text), "10.0.0.1", map[string]string{"name": "New"})
		if err != nil {
			if err != errNotEdited && !strings.Contains(err.Error(), "not TOML") && !strings.Contains(err.Error(), "invisible") {
				t.Errorf("%q: got %v", text, err)
			}
			continue
		}
		if s, err := Parse(got); err != nil || s.Devices[len(s.Devices)-1].Name != "New" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestRemoveDevice_KeepsTheOthers(t *testing.T) {
	got, err := RemoveDevice([]byte(editable), "10.0.0.1")
	if err != nil || strings.Contains(string(got), "10.0.0.1") || !strings.Contains(string(got), "00:1e:8f:12:34:56") || !strings.Contains(string(got), "# the next one") {
		t.Errorf("got %v\n%s", err, got)
	}
	if _, err := RemoveDevice([]byte(editable), "10.0.0.3"); err == nil {
		t.Error("a device that is not there: got no error")
	}
}

// TestEditDevice_KeepsTheFormOfATextFromWindows has a byte order mark and CRLF.
func TestEditDevice_KeepsTheFormOfATextFromWindows(t *testing.T) {
	text := []byte("\ufeff[senders]\r\naccepted_domains = [\"contoso.com\"]\r\n[[device]]\r\naddress = \"10.0.0.1\"\r\n# lobby\r\n[[device]]\r\naddress = \"10.0.0.2\"")
	edited, err := EditDevice(text, "10.0.0.1", map[string]string{"name": "New"})
	if err == nil {
		edited, err = EditDevice(edited, "10.0.0.3", map[string]string{"name": "Third"})
	}
	if err == nil {
		edited, err = RemoveDevice(edited, "10.0.0.2")
	}
	want := "\ufeff[senders]\r\naccepted_domains = [\"contoso.com\"]\r\n[[device]]\r\naddress = '10.0.0.1'\r\nname = 'New'\r\n# lobby\r\n\r\n[[device]]\r\naddress = '10.0.0.3'\r\nname = 'Third'\r\n"
	if err != nil || string(edited) != want {
		t.Errorf("got  %q, %v\nwant %q", edited, err, want)
	}
}
