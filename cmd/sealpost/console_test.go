package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/terminal"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/provisioning/console"
	"sealpost/provisioning/state"
)

// cable returns the technician's end of a new serial line, and links its other end
// to path.
func cable(t *testing.T, path string) *os.File {
	t.Helper()
	end, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() })
	number, err := unix.IoctlGetInt(int(end.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(end.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	// A file that Fd made blocking has no deadlines.
	if err := unix.SetNonblock(int(end.Fd()), true); err != nil {
		t.Fatal(err)
	}
	fresh := path + ".new"
	if err := os.Symlink(fmt.Sprintf("/dev/pts/%d", number), fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
	return end
}

// expect reads until the console has printed text.
func expect(t *testing.T, end *os.File, text string) {
	t.Helper()
	var output strings.Builder
	if err := end.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for p := make([]byte, 1024); !strings.Contains(output.String(), text); {
		n, err := end.Read(p)
		if output.Write(p[:n]); err != nil && !os.IsTimeout(err) && n == 0 && output.Len() == 0 {
			time.Sleep(10 * time.Millisecond) // nobody has opened the other end yet
		} else if err != nil {
			t.Fatalf("%v before %q:\n%s", err, text, output.String())
		}
	}
}

func TestConsole_ReturnsWithItsLine(t *testing.T) {
	dir := t.TempDir()
	line := filepath.Join(dir, "line")
	box := operator.Local{Options: wire.Options{State: filepath.Join(dir, "box.state"), Control: filepath.Join(dir, "control")}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	first := cable(t, line)
	go func() { ended <- terminal.Serve(ctx, console.New(box), line) }()
	expect(t, first, "Press Enter")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := cable(t, line)
	expect(t, second, "Press Enter")
	if _, err := second.WriteString("\r"); err != nil {
		t.Fatal(err)
	}
	expect(t, second, "There is no state yet")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestConsole_RefusesAFileThatIsNoSerialLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := terminal.Serve(t.Context(), console.New(operator.Local{}), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error with %q", err, path)
	}
}

func TestConsole_PointsToTheButtonForDamagedSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 2*state.AreaSize), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := operator.Local{Options: wire.Options{State: path}}.Running(t.Context())
	if text := console.Text(err); !strings.Contains(text, "hold the box's button") {
		t.Errorf("got %v, want text with %q", text, "hold the box's button")
	}
}

// commandOrFlag matches what can be typed only on a command line.
var commandOrFlag = regexp.MustCompile(`\bsealpost [a-z]|(^|\s)--[a-z]`)

func TestFaults_HaveACureInEachFrontEnd(t *testing.T) {
	for _, code := range fault.All {
		err := fmt.Errorf("making a request: %w", fault.New(code, "it failed").With("path", "box.state"))
		onConsole, onCommandLine := console.Text(err), cures.Text(err)
		for _, text := range []string{onConsole, onCommandLine} {
			if !strings.HasPrefix(text, "making a request: it failed") || strings.Contains(text, "{") {
				t.Errorf("%s: got %s", code, text)
			}
		}
		if commandOrFlag.MatchString(onConsole) {
			t.Errorf("%s: the console names what cannot be typed there: %s", code, onConsole)
		}
		if menu := strings.Contains(onCommandLine, "in the menu"); menu {
			t.Errorf("%s: the command line names a menu: %s", code, onCommandLine)
		}
		for front, table := range map[string]fault.Cures{"the command line": cures, "the console": console.Cures()} {
			if _, known := table[code]; !known {
				t.Errorf("%s has no cure for %s", front, code)
			}
		}
		var decoded struct{ Faults []fault.Fault }
		if err := json.Unmarshal(fault.Encode(err), &decoded); err != nil || len(decoded.Faults) != 1 || decoded.Faults[0].Code != code || decoded.Faults[0].Facts["path"] != "box.state" {
			t.Errorf("%s in JSON: got %s, %v, want its code and facts", code, fault.Encode(err), err)
		}
	}
}

func TestFaults_NameNoCommandBelowTheFrontEnds(t *testing.T) {
	for _, dir := range []string{"../../hal", "../../relay", "../../provisioning", "internal"} {
		for path, literals := range stringsOf(t, filepath.FromSlash(dir)) {
			for _, text := range literals {
				if commands.MatchString(text) {
					t.Errorf("%s names a command: %q", path, text)
				}
			}
		}
	}
}

// commands are the commands of this program, as texts name them.
var commands = regexp.MustCompile(`\bsealpost (certificate|check|config|journal|queue|relay|send-test|spool (stat|verify|dump|format)|state|tenant|tpm|probe|user)\b`)

// stringsOf returns the string literals of the Go files below a folder, without
// those of tests.
func stringsOf(t *testing.T, folder string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if _, isImport := n.(*ast.ImportSpec); isImport {
				return false
			}
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				found[path] = append(found[path], literal.Value)
			}
			return true
		})
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("got %d files, %v, want at least 10", len(found), err)
	}
	return found
}
