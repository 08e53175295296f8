// Package build holds what is promised of the program that is shipped.
package build

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is the top of the source tree.
const root = "../../.."

// build makes the arm64 program from the tree and gives it whole.
func build(t *testing.T, tree string, environment ...string) []byte {
	t.Helper()
	dist := t.TempDir()
	command := exec.Command("make", "--no-print-directory", "-C", tree, "build", "DIST="+dist, "TARGETS=linux-arm64", "VERSION=v0-test", "BUILT=2026-11-01T00:00:00Z")
	command.Env = append(os.Environ(), environment...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	program, err := os.ReadFile(filepath.Join(dist, "sealpost-linux-arm64"))
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// copyTree copies what git tracks, as it is in the working tree.
func copyTree(t *testing.T) string {
	t.Helper()
	files, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("listing the tree: %v", err)
	}
	elsewhere := filepath.Join(t.TempDir(), "another", "place")
	for file := range strings.SplitSeq(strings.Trim(string(files), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(elsewhere, file)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return elsewhere
}

func TestTwoBuildsInDifferentPlacesAreBitIdentical(t *testing.T) {
	here := build(t, root)
	there := build(t, copyTree(t), "GOCACHE="+t.TempDir())
	if !bytes.Equal(here, there) {
		t.Errorf("two builds differ: %d and %d bytes", len(here), len(there))
	}
	checkProgram(t, here)
}

// checkProgram holds what the appliance relies on: one file that needs no
// loader and no library, and fits.
func checkProgram(t *testing.T, program []byte) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has a segment %s", segment.Type)
		}
	}
	if file.Section(".symtab") != nil || file.Section(".debug_info") != nil {
		t.Error("the program is not stripped")
	}
	const limit = 12 << 20
	if len(program) >= limit {
		t.Errorf("the program has %d bytes, the limit is %d", len(program), limit)
	}
}
