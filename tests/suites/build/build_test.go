// Package build tests the shipped program, as make build builds it.
package build

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// root is the top of the source tree.
const root = "../../.."

// build builds the arm64 program from the tree and returns its content.
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

// TestProgram_IsOneSmallStrippedFile checks what the appliance relies on: one static
// file below the size limit.
func TestProgram_IsOneSmallStrippedFile(t *testing.T) {
	program := build(t, root)
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
		t.Errorf("got a program of %d bytes, want less than %d", len(program), limit)
	}
}
