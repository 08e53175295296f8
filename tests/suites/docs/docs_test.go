// Package docs checks the documentation against the program: commands, texts, links
// and names exist.
//
// It parses only the Markdown that these pages use. It cannot check what a page means.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealpost/tests/rigs/box"
)

const tree = "../../.."

// pages returns the Markdown pages at the root and in docs, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	inDocs, err := filepath.Glob(filepath.Join(tree, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	atRoot, err := filepath.Glob(filepath.Join(tree, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range append(inDocs, atRoot...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	return all
}

// commandsIn returns the commands that a page shows after a program's name, in
// indented lines and in inline code.
func commandsIn(page, program string) []string {
	var found []string
	for _, match := range regexp.MustCompile("(?m)(?:^    |`)"+program+" ([^`#\n]+)").FindAllStringSubmatch(page, -1) {
		command, _, _ := strings.Cut(match[1], "  ") // an explanation follows
		found = append(found, command)
	}
	return found
}

func TestPages_ShowCommandsThatExist(t *testing.T) {
	program, err := box.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := box.Box{Program: program, Dir: t.TempDir()}
	seen := make(map[string]bool)
	for file, page := range pages(t) {
		for _, command := range commandsIn(page, "sealpost") {
			for _, alternative := range alternatives(strings.Fields(command)) {
				path, flags := splitFlags(alternative)
				help, err := b.Run(append(slices.Clone(path), "--help")...)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(help.Out, "Usage:\n  "+strings.Join(append([]string{"sealpost"}, path...), " ")) {
					t.Errorf("%s: there is no command sealpost %s", file, command)
				}
				for _, flag := range flags {
					if !strings.Contains(help.Out, "  "+flag+" ") {
						t.Errorf("%s: sealpost %s has no flag %s", file, command, flag)
					}
				}
				seen[strings.Join(path, " ")] = true
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("got %d commands, want at least 20: has their notation changed?", len(seen))
	}
}

// alternatives expands a command that names several, such as "queue list|show".
func alternatives(words []string) [][]string {
	for i, word := range words {
		if !strings.Contains(word, "|") {
			continue
		}
		var all [][]string
		for option := range strings.SplitSeq(word, "|") {
			all = append(all, append(slices.Clone(words[:i]), option))
		}
		return all
	}
	return [][]string{words}
}

// splitFlags separates the names of commands from the flags.
func splitFlags(words []string) (path, flags []string) {
	name := regexp.MustCompile(`^[a-z][a-z-]*$`)
	for i, word := range words {
		if strings.HasPrefix(word, "--") {
			flags = append(flags, word)
		} else if i == len(path) && name.MatchString(word) {
			path = append(path, word)
		}
	}
	return path, flags
}

func TestPages_NameTargetsOfTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(tree, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for file, page := range pages(t) {
		for _, target := range commandsIn(page, "make") {
			target = strings.Fields(target)[0]
			if regexp.MustCompile(`^[a-z]+$`).MatchString(target) && !strings.Contains(string(makefile), "\n"+target+":") {
				t.Errorf("%s: there is no target %s", file, target)
			}
		}
	}
}

func TestPages_LinkToWhatExists(t *testing.T) {
	all := pages(t)
	for file, page := range all {
		for _, match := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if anchor != "" && !slices.Contains(anchors(all[path]), anchor) {
				t.Errorf("%s: %s has no heading #%s", file, path, anchor)
			}
		}
	}
}

// anchors returns the headings of a page in the form that links use.
func anchors(page string) []string {
	var all []string
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(match[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

func TestPages_ExplainTextsThatTheProgramHas(t *testing.T) {
	program, explained := sourceText(t), 0
	for file, page := range pages(t) {
		for _, text := range explainedIn(page) {
			explained++
			if !strings.Contains(program, text) {
				t.Errorf("%s: the program has no text %q", file, text)
			}
		}
	}
	if explained < 30 {
		t.Errorf("got %d texts, want at least 30: has the form of the tables changed?", explained)
	}
}

// explainedIn returns the fixed parts of the texts that the tables of texts
// quote. Single words are left out, as they occur elsewhere too.
func explainedIn(page string) []string {
	var pieces []string
	for _, table := range regexp.MustCompile(`(?m)^\| text \|.*\n(?:\|.*\n)+`).FindAllString(page, -1) {
		for row := range strings.Lines(table) {
			cell := strings.Split(row, "|")[1]
			for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				for _, piece := range regexp.MustCompile(`…|: |"|[0-9][0-9.:]*`).Split(quoted[1], -1) {
					if piece = strings.TrimSpace(piece); strings.Contains(piece, " ") {
						pieces = append(pieces, piece)
					}
				}
			}
		}
	}
	return pieces
}

// sourceText returns the source of the program.
func sourceText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd", "hal", "provisioning", "relay"} {
		err := filepath.WalkDir(filepath.Join(tree, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
