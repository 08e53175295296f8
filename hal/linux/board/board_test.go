package board

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The test reads every board in the tree as init does.
func TestLoad_ReadsEveryBoard(t *testing.T) {
	boards, err := filepath.Glob("../../../board/*/board.toml")
	if err != nil || len(boards) == 0 {
		t.Fatalf("no boards: %v", err)
	}
	for _, path := range boards {
		facts, err := Load(path)
		if err != nil {
			t.Error(err)
		}
		if facts.Name == "" || len(facts.Lines) == 0 || facts.Watchdog == "" {
			t.Errorf("%s lacks a name, a line or a watchdog: %+v", path, facts)
		}
	}
}

func TestLoad_RefusesInvalidFacts(t *testing.T) {
	for text, want := range map[string]string{
		"state = \"/dev/vda\"\n":                     "state and tpm",
		"state = \"/dev/vda\"\ntpm = \"x\"\nled = 1": "LED",
		"stat = \"/dev/vda\"\n":                      "missing",
	} {
		path := filepath.Join(t.TempDir(), "board.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}
