//go:build release

package release

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// TestConfigured_LeavesAnUnreadableFileToTheRelay runs as another user, as the unit does: a
// unit that is skipped has not failed, and nobody would notice.
func TestConfigured_LeavesAnUnreadableFileToTheRelay(t *testing.T) {
	script, err := os.Open(filepath.Join(root, "board/debian/configured"))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "sealpost.toml")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sh", "-s", file)
	command.Stdin = script
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if output, err := command.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("got %v and %q, want that the unit starts", err, output)
	}
}
