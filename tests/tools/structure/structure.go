// Command structure counts the files, the lines and the links between files of each
// package of the program.
//
// A file has a link to another file of its package if it uses a declaration there. The
// files are sorted so that as few links as possible point back: a package without back
// links can be read from top to bottom.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Count holds the counts of one package.
type Count struct {
	Package                  string // its folder, from the root of the tree
	Files, Lines             int    // without tests
	Links, Back, LargestFile int    // LargestFile is in lines
}

// Packages counts each package below folders of a tree.
func Packages(tree string, folders ...string) ([]Count, error) {
	var counts []Count
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(tree, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			c, err := count(path)
			if err != nil || c.Files == 0 {
				return err
			}
			c.Package, err = filepath.Rel(tree, path)
			counts = append(counts, c)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// count counts one package.
func count(folder string) (Count, error) {
	set := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return Count{}, err
	}
	var c Count
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return Count{}, err
		}
		lines := set.File(file.Pos()).LineCount()
		c.Files, c.Lines, c.LargestFile = c.Files+1, c.Lines+lines, max(c.LargestFile, lines)
		files = append(files, file)
	}
	links := linksOf(set, files)
	c.Links, c.Back = len(links), back(links)
	return c, nil
}

type link struct{ from, to string }

// noImporter imports no package: links within a package do not depend on others.
type noImporter struct{}

func (noImporter) Import(string) (*types.Package, error) { return nil, errors.New("not imported") }

// linksOf returns the links between files, each once. It does not resolve uses that
// depend on other packages.
func linksOf(set *token.FileSet, files []*ast.File) []link {
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: noImporter{}, Error: func(error) {}}
	_, _ = config.Check("p", set, files, info)
	found := make(map[link]bool)
	for use, object := range info.Uses {
		if !object.Pos().IsValid() {
			continue // predeclared
		}
		l := link{set.Position(use.Pos()).Filename, set.Position(object.Pos()).Filename}
		if l.from != l.to {
			found[l] = true
		}
	}
	var links []link
	for l := range found {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b link) int { return strings.Compare(a.from+"\x00"+a.to, b.from+"\x00"+b.to) })
	return links
}

// back counts the back links after sorting the files by the heuristic of Eades, Lin
// and Smyth (1993): unused files first, files that use no other last, and the others by
// the number of files they use.
func back(links []link) int {
	out, in := make(map[string]map[string]bool), make(map[string]map[string]bool)
	remaining := make(map[string]bool)
	for _, l := range links {
		for _, name := range []string{l.from, l.to} {
			if !remaining[name] {
				remaining[name], out[name], in[name] = true, make(map[string]bool), make(map[string]bool)
			}
		}
		out[l.from][l.to], in[l.to][l.from] = true, true
	}
	var first, last []string
	remove := func(name string) {
		delete(remaining, name)
		for to := range out[name] {
			delete(in[to], name)
		}
		for from := range in[name] {
			delete(out[from], name)
		}
	}
	for len(remaining) > 0 {
		names := slices.Sorted(maps.Keys(remaining))
		best := names[0]
		for _, name := range names {
			if len(out[name]) == 0 {
				best = name
				break
			}
			if len(out[name])-len(in[name]) > len(out[best])-len(in[best]) {
				best = name
			}
		}
		if len(out[best]) == 0 {
			last = append(last, best)
		} else {
			first = append(first, best)
		}
		remove(best)
	}
	slices.Reverse(last)
	place := make(map[string]int)
	for i, name := range append(first, last...) {
		place[name] = i
	}
	n := 0
	for _, l := range links {
		if place[l.from] > place[l.to] {
			n++
		}
	}
	return n
}

func main() {
	counts, err := Packages(".", "cmd", "hal", "provisioning", "relay")
	if err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(1)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "files\tlines\tlargest\tlinks\tback\t package")
	var all Count
	for _, c := range counts {
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\t %s\n", c.Files, c.Lines, c.LargestFile, c.Links, c.Back, c.Package)
		all.Files, all.Lines, all.Links, all.Back = all.Files+c.Files, all.Lines+c.Lines, all.Links+c.Links, all.Back+c.Back
	}
	fmt.Fprintf(table, "%d\t%d\t\t%d\t%d\t all\n", all.Files, all.Lines, all.Links, all.Back)
	_ = table.Flush()
}
