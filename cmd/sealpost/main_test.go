package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sealpost runs a command line in a new folder with these settings.
func sealpost(t *testing.T, settings string, args ...string) (status int, out, errs string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if settings != "" {
		if err := os.WriteFile("sealpost.toml", []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(""), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

const good = "[senders]\naccepted_domains = [\"contoso.com\"]\n[keys]\nprotection = \"file\"\ntpm = \"unix:/nowhere/tpm\"\n[spool]\nsize = \"8MiB\"\n[state]\npath = \"box.state\"\n"

// sealed are settings that require a TPM.
var sealed = strings.Replace(good, "protection = \"file\"\n", "", 1)

func TestRun_GivesEachCommandLineItsStatusAndOutput(t *testing.T) {
	for _, c := range []struct {
		args     string
		settings string
		status   int
		text     string
	}{
		{"version", "", exitDone, "sealpost development for linux/"},
		{"version --json", "", exitDone, `"version": "development"`},
		{"--help", "", exitDone, "certificate"},
		{"", "", exitUsage, "sealpost needs a command"},
		{"certificate", "", exitUsage, "sealpost certificate needs a command"},
		{"certificate polish", "", exitUsage, `sealpost certificate has no command "polish"`},
		{"version now", "", exitUsage, "sealpost version takes no argument"},
		{"config check", "", exitUsage, "sealpost config check takes exactly 1 argument: FILE"},
		{"quue", "", exitUsage, `did you mean "queue"?`},
		{"version --loud", "", exitUsage, "unknown flag: --loud"},
		{"config check sealpost.toml", good, exitDone, "the settings are valid"},
		{"config check sealpost.toml --json", good, exitDone, `"errors": []`},
		{"config check sealpost.toml", "[lan]\nalow = []\n", exitFailed, "line 2: unknown key lan.alow: did you mean lan.allow?"},
		{"config check sealpost.toml --json", "[lan]\nalow = []\n", exitFailed, `"line": 2`},
		{"config check none.toml", "", exitFailed, "there is no file none.toml: check the path"},
		{"relay", "", exitFailed, "there is no settings file sealpost.toml: check the path"},
		{"relay", "[lan]\nalow = []\n", exitFailed, "the settings in sealpost.toml cannot be used"},
		{"journal", good, exitFailed, "start it with: sealpost relay"},
		{"certificate show", good, exitFailed, "import one with: sealpost certificate import --pfx FILE"},
		{"certificate import", good, exitUsage, "name either --pfx FILE or --pem FILE"},
		{"certificate import --pfx none.pfx", good, exitFailed, "there is no file none.pfx: check the path"},
		{"certificate import --pem none.pem", good, exitFailed, "there is no file none.pem: check the path"},
		{"certificate request", good, exitUsage, "name the certificate's host with --name"},
		{"certificate request --name relay.contoso.com --key foo", good, exitUsage, "choose RSA-2048, RSA-3072, P-256 or P-384"},
		{"certificate request --name relay.contoso.com", good, exitFailed, `a certificate request needs a TPM; with keys.protection = "file" import a PFX`},
		{"certificate request --name relay.contoso.com", sealed, exitFailed, "TPM absent"},
		{"certificate request --name relay..com", sealed, exitFailed, `"relay..com" cannot be the name in a certificate`},
		{"tpm", good, exitFailed, "TPM at unix:/nowhere/tpm: absent: check that the TPM is fitted"},
		{"tpm --tpm /dev/null", "", exitFailed, "TPM at /dev/null: failed: not a TPM: set keys.tpm"},
		{"tpm --tpm unix:/nowhere/tpm --json", "", exitFailed, `"state": "absent"`},
		{"tpm", "", exitFailed, "there is no settings file sealpost.toml"},
		{"send-test", good, exitUsage, "name the recipient with --to"},
		{"send-test --to notanaddress", good, exitUsage, `--to: `},
		{"completion klingon", "", exitUsage, `sealpost completion has no command "klingon"`},
		{"completion bash", "", exitDone, "bash completion"},
		{"certificate show --state sealpost.toml", good, exitFailed, "sealpost.toml is not a state: it has only "},
		{"certificate request --name relay.contoso.com --state missing/box.state", sealed, exitFailed, "creating the state missing/box.state: the folder missing does not exist"},
		{"certificate show --config=", "", exitFailed, "no settings file and no state are given"},
		{"state erase", good, exitUsage, "add --yes to confirm"},
		{"state erase --yes", good, exitFailed, "there is no state yet"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, out, errs := sealpost(t, c.settings, strings.Fields(c.args)...)
			if status != c.status || !strings.Contains(out+errs, c.text) {
				t.Errorf("got status %d and output:\n%s%s", status, out, errs)
			}
			if strings.Contains(c.args, "--json") && !json.Valid([]byte(out)) {
				t.Errorf("not JSON: %s", out)
			}
		})
	}
}

func TestRun_NamesTheCommandForADamagedState(t *testing.T) {
	t.Chdir(t.TempDir())
	noise := bytes.Repeat([]byte("noise"), 4<<20)
	for path, text := range map[string][]byte{"sealpost.toml": []byte(good), "box.state": noise} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	show := func() int {
		errs.Reset()
		return run(context.Background(), []string{"certificate", "show"}, strings.NewReader(""), &out, &errs)
	}
	if status := show(); status != exitFailed || !strings.Contains(errs.String(), "sealpost state erase --yes") {
		t.Errorf("got status %d and %s, want %d and the command to erase", status, errs.String(), exitFailed)
	}
	if status := run(context.Background(), []string{"state", "erase", "--yes"}, strings.NewReader(""), &out, &errs); status != exitDone {
		t.Errorf("erasing: got status %d and %s, want %d", status, errs.String(), exitDone)
	}
	if show(); !strings.Contains(errs.String(), "no client certificate yet") {
		t.Errorf("after erasing: got %s, want text with %q", errs.String(), "no client certificate yet")
	}
}

func TestCommands_CreateNoStateInVain(t *testing.T) {
	for _, args := range []string{"certificate show", "certificate request --name not_a_name"} {
		sealpost(t, sealed, strings.Fields(args)...)
		if _, err := os.Stat("box.state"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want %v", args, err, fs.ErrNotExist)
		}
	}
}

func TestState_IsCreatedOnceAtFullSize(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sealpost.toml", []byte(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		run(context.Background(), []string{"certificate", "request", "--name", "relay.contoso.com", "--state", filepath.Join(".", "other.state")}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
		info, err := os.Stat("other.state")
		if err != nil || info.Size() != 10<<20 {
			t.Errorf("got %v, %v", info, err)
		}
	}
}

func TestConfigCheck_ListsErrorsOnceInJSON(t *testing.T) {
	_, out, errs := sealpost(t, "[lan]\nalow = []\n", "config", "check", "sealpost.toml", "--json")
	if !strings.Contains(out, "unknown key lan.alow") || errs != `{"faults":[{"text":"sealpost.toml cannot be used"}]}`+"\n" {
		t.Errorf("got %s%s", out, errs)
	}
}
