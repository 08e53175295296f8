// Package architecture checks which packages Sealpost's packages may import, and
// other rules on the source.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Package is a package as go list describes it.
type Package struct {
	ImportPath, Dir  string
	GoFiles, Imports []string
}

const module = "sealpost/"

// rules list the packages of this module that a package may import, longest prefix
// first. Every package may also import hal/fault. A trailing slash matches everything
// below.
var rules = []struct {
	prefix  string
	allowed []string
}{
	{"hal/fault", nil},
	{"hal/printable", nil},
	{"hal/linux/", []string{"hal"}},
	{"hal/simflash", []string{"hal"}},
	{"hal", nil},

	{"relay", nil},
	{"relay/envelope", nil},
	{"relay/reply", nil},
	{"relay/body", nil},
	{"relay/header", nil},
	{"relay/dkim", []string{"relay/envelope", "relay/header"}},
	{"relay/mime", []string{"relay/header"}},
	{"relay/spool", []string{"hal"}},
	{"relay/policy", []string{"relay/envelope", "relay/reply"}},
	{"relay/device", []string{"relay/envelope"}},
	{"relay/oauth", nil},
	{"relay/report", []string{"relay/envelope", "relay/reply"}},
	{"relay/journal", []string{"relay/envelope", "relay/reply"}},
	{"relay/lan", []string{"relay/envelope", "relay/reply", "relay/body", "relay/header", "relay/journal", "relay/policy", "relay/device"}},
	{"relay/queue", []string{"relay/envelope", "relay/spool"}},
	{"relay/dispatch/throttle", []string{"relay/reply", "relay/report"}},
	{"relay/dispatch/fairqueue", []string{"relay/queue"}},
	{"relay/dispatch", []string{"relay/dispatch/throttle", "relay/dispatch/fairqueue", "relay/envelope", "relay/reply", "relay/body", "relay/spool", "relay/queue", "relay/journal", "relay/report", "relay/upstream"}},
	{"relay/control", []string{"relay/journal", "relay/dispatch", "relay/queue", "relay/spool", "relay/envelope", "relay/policy", "relay/device"}},
	{"relay/server", []string{"relay/envelope", "relay/journal", "relay/lan", "relay/dispatch", "relay/control", "relay/queue", "relay/spool", "relay/policy", "relay/device"}},
	{"relay/upstream/dns", nil},
	{"relay/upstream/esmtp", []string{"relay/envelope", "relay/header", "relay/mime", "relay/reply"}},
	{"relay/upstream/reach", []string{"relay/upstream/esmtp"}},
	{"relay/upstream/transport", []string{"relay/envelope", "relay/reply", "relay/journal", "relay/upstream", "relay/upstream/esmtp"}},
	{"relay/upstream/connector", []string{"relay/envelope", "relay/reply", "relay/journal", "relay/upstream", "relay/upstream/esmtp", "relay/upstream/transport"}},
	{"relay/upstream/mtasts", nil},
	{"relay/upstream/direct", []string{"relay/envelope", "relay/mime", "relay/reply", "relay/journal", "relay/upstream", "relay/upstream/dns", "relay/upstream/mtasts", "relay/upstream/esmtp", "relay/upstream/transport"}},
	{"relay/upstream/submission", []string{"relay/envelope", "relay/reply", "relay/header", "relay/journal", "relay/report", "relay/upstream", "relay/upstream/esmtp", "relay/upstream/transport"}},
	{"relay/upstream", []string{"relay/reply", "relay/journal"}},

	{"provisioning/settings", nil},
	{"provisioning/state", []string{"hal"}},
	{"provisioning/certificate", []string{"hal"}},
	{"provisioning/keyring", []string{"hal"}},
	{"provisioning/preflight", []string{"hal", "provisioning/settings", "provisioning/certificate"}},
	{"provisioning/tenant", []string{"provisioning/settings", "provisioning/certificate", "provisioning/preflight"}},
	{"provisioning/binding", []string{"hal", "provisioning/keyring", "provisioning/state"}},
	{"provisioning/dkimkey", []string{"hal", "provisioning/keyring", "provisioning/state"}},
	{"provisioning/credential", []string{"provisioning/keyring", "provisioning/settings", "provisioning/state"}},
	{"provisioning/operator", []string{"provisioning/candidate", "provisioning/preflight", "provisioning/user"}},
	{"provisioning/user", []string{"hal", "provisioning/keyring", "provisioning/settings", "provisioning/state"}},
	{"provisioning/bundle", []string{"provisioning/candidate", "provisioning/certificate", "provisioning/settings", "provisioning/user"}},
	{"provisioning/console", []string{"provisioning/operator", "provisioning/bundle", "provisioning/candidate", "provisioning/certificate", "provisioning/pin", "provisioning/preflight", "provisioning/settings", "provisioning/tenant", "provisioning/user"}},
	{"provisioning/", []string{"hal", "provisioning/"}},

	{"cmd/sealpost/internal/licenses", nil},
	{"cmd/sealpost/internal/machine", []string{"hal/linux/board", "hal/linux/network", "relay/control"}},
	{"cmd/sealpost/internal/wire", []string{"hal", "hal/", "relay/", "provisioning/"}},
	{"cmd/sealpost/internal/diagnose", []string{"hal", "hal/linux/clock", "hal/linux/tpm", "relay/", "provisioning/", "cmd/sealpost/internal/wire", "cmd/sealpost/internal/machine"}},
	{"cmd/sealpost/internal/terminal", []string{"cmd/sealpost/internal/wire"}},
	{"cmd/sealpost/internal/operator", []string{"hal", "relay/control", "relay/envelope", "relay/dispatch", "relay/journal", "relay/queue", "relay/spool", "provisioning/", "cmd/sealpost/internal/wire", "cmd/sealpost/internal/machine", "cmd/sealpost/internal/diagnose"}},
	{"cmd/sealpost/internal/appliance", []string{"hal", "hal/linux/", "relay/control", "relay/journal", "relay/server", "relay/spool", "provisioning/", "cmd/sealpost/internal/wire", "cmd/sealpost/internal/machine"}},
	{"cmd/sealpost", []string{"hal", "hal/", "relay/", "provisioning/", "cmd/sealpost/internal/"}},
	{"board/", nil},
	{"tests/rigs/", []string{"tests/rigs/"}},
	{"tests/tools/", []string{"tests/rigs/"}},
	{"tests/suites/", []string{"tests/rigs/"}},
}

// everywhere are packages that any other may import.
var everywhere = []string{"hal/fault", "hal/printable"}

// pure packages do no I/O.
var pure = []string{"relay/envelope", "relay/policy", "relay/device", "relay/report", "provisioning/settings", "provisioning/tenant"}

// impure packages of the standard library do I/O.
var impure = []string{"os", "net", "net/http", "os/exec", "syscall", "log/slog"}

func packages(t *testing.T) []Package {
	t.Helper()
	output, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	var all []Package
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p Package
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func matches(path, prefix string) bool {
	return path == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix)
}

func TestImports_RunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(rules, func(r struct {
			prefix  string
			allowed []string
		}) bool {
			return matches(path, r.prefix)
		})
		if i < 0 {
			t.Errorf("no rule says what %s may import", path)
			continue
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && !slices.Contains(everywhere, ours) && !slices.ContainsFunc(rules[i].allowed, func(allowed string) bool { return matches(ours, allowed) }) {
				t.Errorf("%s must not import %s", path, ours)
			}
		}
	}
}

func TestPurePackages_DoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if slices.Contains(pure, path) && slices.Contains(impure, imported) {
				t.Errorf("%s is pure and must not import %s", path, imported)
			}
		}
	}
}

// goFiles parses the files of a package.
func goFiles(t *testing.T, p Package) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	return files
}

func TestPID1_StartsNoGoroutineWithoutAnOwner(t *testing.T) {
	const pid1, owner = "cmd/sealpost/internal/appliance", "group.go"
	owned := 0
	for _, p := range packages(t) {
		if p.ImportPath != module+pid1 {
			continue
		}
		for name, file := range goFiles(t, p) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: go statement: start the goroutine by the group", name)
				case *ast.CallExpr:
					f, ok := n.Fun.(*ast.SelectorExpr)
					if !ok || f.Sel.Name != "Go" && f.Sel.Name != "AfterFunc" {
						break
					}
					if receiver, ok := f.X.(*ast.Ident); ok && receiver.Name == "context" {
						break // it ends with its context
					}
					if name != owner {
						t.Errorf("%s: %s starts a goroutine: start it by the group", name, f.Sel.Name)
					}
					owned++
				}
				return true
			})
		}
	}
	if owned == 0 {
		t.Error("found no goroutine in " + owner)
	}
}

func TestEventsAndCalls_AreMatchedByType(t *testing.T) {
	events := make(map[string]bool)
	all := packages(t)
	for _, p := range all {
		if p.ImportPath != module+"relay/journal" {
			continue
		}
		for _, file := range goFiles(t, p) {
			ast.Inspect(file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 && strings.HasPrefix(spec.Names[0].Name, "Event") {
					events[spec.Values[0].(*ast.BasicLit).Value] = true
				}
				return true
			})
		}
	}
	if len(events) < 40 {
		t.Fatalf("got %d events, want at least 40", len(events))
	}
	for _, p := range all {
		path := strings.TrimPrefix(p.ImportPath, module)
		if path == "relay/journal" || strings.HasPrefix(path, "tests/") || strings.HasPrefix(path, "board/") {
			continue
		}
		if slices.Contains(p.Imports, "net/url") && path != "relay/oauth" && path != "provisioning/settings" {
			t.Errorf("%s imports net/url: use the typed calls of relay/control", path)
		}
		if !slices.Contains(p.Imports, module+"relay/journal") && !slices.Contains(p.Imports, module+"relay/control") {
			continue // it has neither events nor calls
		}
		for name, file := range goFiles(t, p) {
			check := func(e ast.Expr) {
				if literal, ok := e.(*ast.BasicLit); ok && events[literal.Value] {
					t.Errorf("%s/%s matches the event %s by its name", path, name, literal.Value)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr:
					if n.Op == token.EQL || n.Op == token.NEQ {
						check(n.X)
						check(n.Y)
					}
				case *ast.CaseClause:
					for _, e := range n.List {
						check(e)
					}
				}
				return true
			})
		}
	}
}

// loggerUse matches calls of a logger, as opposed to slog.LogValuer and its types.
var loggerUse = regexp.MustCompile(`\bslog\.(Default|Info|Warn|Error|Debug|Log|New)\w*\(`)

func TestJournal_IsTheOnlyPackageThatLogs(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if slices.Contains(p.Imports, "log") {
			t.Errorf("%s imports log", path)
		}
		if path == "relay/journal" {
			continue
		}
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, use := range loggerUse.FindAllString(string(text), -1) {
				if use != "slog.NewLogLogger(" {
					t.Errorf("%s/%s uses %s", path, file, use)
				}
			}
		}
	}
}

func TestDependencies_HaveTheirReasons(t *testing.T) {
	output, err := exec.Command("go", "list", "-m", "-f", "{{.Path}}", "all").Output()
	if err != nil {
		t.Fatalf("listing the modules: %v", err)
	}
	goMod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := os.ReadFile("../../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(output)) {
		inUse := bytes.Contains(goMod, []byte(path+" v"))
		if inUse && !bytes.Contains(reasons, []byte(strings.TrimPrefix(path, "github.com/"))) {
			t.Errorf("docs/dependencies.md does not say what %s is for", path)
		}
	}
}
