//go:build release

package release

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the top of the source tree.
const root = "../../.."

// run runs a program and returns its output.
func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// signer creates an SSH key and the file that trusts it.
func signer(t *testing.T) (key, trusted string) {
	t.Helper()
	dir := t.TempDir()
	key, trusted = filepath.Join(dir, "key"), filepath.Join(dir, "allowed_signers")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(trusted, fmt.Appendf(nil, "sealpost %s", public), 0o644); err != nil {
		t.Fatal(err)
	}
	return key, trusted
}

func verify(t *testing.T, dir, trusted string) (string, error) {
	t.Helper()
	sums, err := os.Open(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	defer sums.Close()
	command := exec.Command("ssh-keygen", "-Y", "verify", "-f", trusted, "-I", "sealpost", "-n", "sealpost-release", "-s", filepath.Join(dir, "SHA256SUMS.sig"))
	command.Stdin = sums
	output, err := command.CombinedOutput()
	return string(output), err
}

// TestRelease_IsReproducibleSignedAndDescribed makes a release twice.
func TestRelease_IsReproducibleSignedAndDescribed(t *testing.T) {
	key, trusted := signer(t)
	first, second := filepath.Join(t.TempDir(), "dist"), filepath.Join(t.TempDir(), "dist")
	// Both cards have the one kernel that is kept under dist: its build takes half an hour.
	cache, err := filepath.Abs(filepath.Join(root, "dist/card"))
	if err != nil {
		t.Fatal(err)
	}
	cards := []string{"CARDS=" + strings.Join(boards, " "), "CARD_CACHE=" + cache}
	run(t, "make", append(cards, "--no-print-directory", "-C", root, "release", "DIST="+first, "KEY="+key)...)
	printed := run(t, "make", append(cards, "--no-print-directory", "-C", root, "release", "DIST="+second)...)
	if !strings.Contains(printed, "This release is unsigned") {
		t.Error("a release without a key does not say that it is unsigned")
	}
	first, second = filepath.Join(first, "release"), filepath.Join(second, "release")
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if string(sums) != string(again) {
		t.Errorf("two releases differ:\n%s\n%s", sums, again)
	}
	t.Logf("both have\n%s", sums)
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	if output, err := verify(t, first, trusted); err != nil {
		t.Errorf("the signature is not valid: %s", output)
	}
	_, other := signer(t)
	if _, err := verify(t, first, other); err == nil {
		t.Error("the signature is valid for another key")
	}
	for _, target := range []string{"linux-amd64", "linux-arm64", "linux-armv7"} {
		compareModules(t, filepath.Join(first, "sealpost-"+target))
	}
	packages, err := filepath.Glob(filepath.Join(first, "*.deb"))
	if err != nil || len(packages) != 3 {
		t.Errorf("got the packages %q, %v", packages, err)
	}
	t.Logf("%s", run(t, "lintian", append([]string{"--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"}, packages...)...))
	for _, board := range boards {
		checkCard(t, first, board)
	}
	checkSourceOfLinux(t, first)
	checkUSBModes(t, cache)
	bills, err := filepath.Glob(filepath.Join(first, "*.cdx.json"))
	if err != nil || len(bills) != 3+len(boards) {
		t.Errorf("got the bills of materials %q, %v", bills, err)
	}
	// CycloneDX's own schema.
	validate := exec.Command("go", append([]string{"run", "./validate"}, bills...)...)
	validate.Dir = filepath.Join(root, "tests/tools/sbom")
	validate.Env = append(os.Environ(), "GOFLAGS=")
	if output, err := validate.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// compareModules compares the bill of materials of a program with what Go's own
// command finds in it.
func compareModules(t *testing.T, program string) {
	t.Helper()
	var want []string
	for line := range strings.Lines(run(t, "go", "version", "-m", program)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, program+": go"):
			want = append(want, "std@"+strings.TrimPrefix(fields[1], "go"))
		case len(fields) > 2 && fields[0] == "dep":
			want = append(want, fields[1]+"@"+fields[2])
		}
	}
	var got []string
	for _, c := range components(t, program+".cdx.json") {
		got = append(got, c.Name+"@"+c.Version)
		if c.PURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("the package URL of %s is %q", c.Name, c.PURL)
		}
		if c.licence() == "" {
			t.Errorf("%s has no licence", c.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) < 10 {
		t.Errorf("%s: got %q, want %q", program, got, want)
	}
}
