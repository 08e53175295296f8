//go:build release

package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigured_SkipsOnlyTheInstalledSettings runs what the unit runs before its start.
func TestConfigured_SkipsOnlyTheInstalledSettings(t *testing.T) {
	installed, err := os.ReadFile(filepath.Join(root, "board/debian/sealpost.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, settings string
		configured     bool
	}{
		{"installed", string(installed), false},
		{"empty", "", false},
		{"another state", "[state]\n  path = \"/srv/box.state\"\n\n[control]\n", false},
		{"connector", string(installed) + "[senders]\naccepted_domains = [\"contoso.com\"]\n", true},
		{"direct, inline", "upstream = { method = \"direct\" }\nsenders = { accepted_domains = [\"contoso.com\"] }\n", true},
		{"quoted keys, after a number sign", "\"senders\".\"default\" = \"a#b@contoso.com\"\n'senders'.'accepted_domains' = [\"contoso.com\"]\n", true},
		{"a tenant without its client", "[upstream.submission]\nuser = \"relay@contoso.com\"\n", true},
		{"Windows' lines", strings.ReplaceAll(string(installed), "\n", "\r\n"), false},
		{"a mistake", "[state]\npath = \"/var/lib/sealpost/box.state\"\naccepted_domain = 1\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sealpost.toml")
			if err := os.WriteFile(file, []byte(c.settings), 0o644); err != nil {
				t.Fatal(err)
			}
			output, err := exec.Command("sh", filepath.Join(root, "board/debian/configured"), file).CombinedOutput()
			if (err == nil) != c.configured || strings.Contains(string(output), "not set up: edit "+file) == c.configured {
				t.Errorf("got %v and %q, want configured %v", err, output, c.configured)
			}
		})
	}
}
