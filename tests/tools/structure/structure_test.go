package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBack_CountsOnlyUnavoidableLinks(t *testing.T) {
	for want, links := range map[int][]link{
		0: {{"main", "command"}, {"main", "options"}, {"command", "options"}},
		1: {{"a", "b"}, {"b", "a"}, {"a", "c"}},
		2: {{"a", "b"}, {"b", "a"}, {"c", "d"}, {"d", "c"}, {"a", "d"}},
	} {
		if got := back(links); got != want {
			t.Errorf("%v: got %d back links, want %d", links, got, want)
		}
	}
}

func TestPackages_KeepTheirStructure(t *testing.T) {
	counts, err := Packages("../../..", "cmd", "hal", "provisioning", "relay")
	if err != nil {
		t.Fatal(err)
	}
	if len(counts) < 40 {
		t.Fatalf("got %d packages, want at least 40", len(counts))
	}
	for _, c := range counts {
		if c.Package == "cmd/sealpost" && (c.Lines > 1500 || c.Back > 10) {
			t.Errorf("cmd/sealpost: got %d lines and %d back links, want at most 1500 and 10: code that does more than parse, call and print belongs below it", c.Lines, c.Back)
		}
		const maxLines = 400
		if c.LargestFile > maxLines {
			t.Errorf("%s: got a file of %d lines, want at most %d", c.Package, c.LargestFile, maxLines)
		}
	}
}

func TestTree_ContainsNoBinaries(t *testing.T) {
	const limit = 128 << 10
	output, err := exec.Command("git", "-C", "../../..", "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("listing the tree: %v", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(output), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join("../../..", name))
		if err == nil && info.Size() > limit {
			t.Errorf("%s: got %d bytes, want at most %d: it is no source file", name, info.Size(), limit)
		}
	}
}
