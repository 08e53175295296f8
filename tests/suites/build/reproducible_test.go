//go:build release

package build

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// copyTree copies the files that git tracks, as they are in the working tree.
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

// TestProgram_IsTheSameFromTwoPlaces builds everything twice, so it is left to
// make release-check.
func TestProgram_IsTheSameFromTwoPlaces(t *testing.T) {
	here := build(t, root)
	there := build(t, copyTree(t), "GOCACHE="+t.TempDir())
	if !bytes.Equal(here, there) {
		t.Errorf("two builds differ: %d and %d bytes", len(here), len(there))
	}
}
