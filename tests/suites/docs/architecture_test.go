package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// architecture is the page about the code, by its path in the tree.
const architecture = "ARCHITECTURE.md"

const module = "sealpost/"

// source is what the page may refer to.
type source struct {
	packages map[string]symbols // by import path, without the module's name
	tests    map[string]bool    // the test functions of all packages
	files    func(path string) bool
}

// symbols are the declarations of a package: "Func", "Type" and "Type.Member", where
// a member is a method or a field.
type symbols map[string]bool

// readSource parses the packages that the page must describe, and finds all tests.
func readSource(t *testing.T) source {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles", "./cmd/...", "./hal/...", "./provisioning/...", "./relay/...", "./board/...")
	command.Dir = tree
	output, err := command.Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	s := source{packages: make(map[string]symbols), tests: make(map[string]bool), files: func(path string) bool {
		_, err := os.Stat(filepath.Join(tree, path))
		return err == nil
	}}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p struct {
			ImportPath, Dir string
			GoFiles         []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		declared := make(symbols)
		for _, name := range p.GoFiles {
			declared.add(parse(t, filepath.Join(p.Dir, name)))
		}
		s.packages[strings.TrimPrefix(p.ImportPath, module)] = declared
	}
	err = filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, declaration := range parse(t, path).Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				s.tests[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// add adds the declarations of a file.
func (s symbols) add(file *ast.File) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = typeName(d.Recv.List[0].Type) + "." + name
			}
			s[name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.addSpec(spec)
			}
		}
	}
}

func (s symbols) addSpec(spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			s[name.Name] = true
		}
	case *ast.TypeSpec:
		s[spec.Name.Name] = true
		var members *ast.FieldList
		switch t := spec.Type.(type) {
		case *ast.StructType:
			members = t.Fields
		case *ast.InterfaceType:
			members = t.Methods
		default:
			return
		}
		for _, member := range members.List {
			for _, name := range member.Names {
				s[spec.Name.Name+"."+name.Name] = true
			}
		}
	}
}

// typeName returns the name of a receiver's type.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	codeForm   = regexp.MustCompile("`([^`\n]+)`")
	symbolForm = regexp.MustCompile(`^((?:\w+/)*\w+)\.([A-Za-z]\w*(?:\.[A-Za-z]\w*)?)(?:\(\))?$`)
	testForm   = regexp.MustCompile(`^Test[A-Z]\w*$`)
	pathForm   = regexp.MustCompile(`^[\w.-]+(/[\w.-]+)+/?$`)
	fileName   = regexp.MustCompile(`\.(go|md|toml|txt|sh|config|json)$`)
)

// wrongReferences returns each reference on the page that does not exist: pkg.Func,
// pkg.Type, pkg.Type.Member, a test, or a path. A package is named by its last path
// element, or by as many as are needed to be unique.
func (s source) wrongReferences(page string) []string {
	var found []string
	line := 0
	for text := range strings.Lines(page) {
		line++
		for _, match := range codeForm.FindAllStringSubmatch(text, -1) {
			if err := s.check(match[1]); err != nil {
				found = append(found, fmt.Sprintf("line %d: %v", line, err))
			}
		}
	}
	return found
}

// check returns an error if a reference does not exist.
func (s source) check(code string) error {
	switch symbol := symbolForm.FindStringSubmatch(code); {
	case symbol != nil && !fileName.MatchString(code):
		return s.checkSymbol(symbol[1], symbol[2])
	case testForm.MatchString(code) && !s.tests[code]:
		return fmt.Errorf("there is no test %s", code)
	case pathForm.MatchString(code) && !s.files(code):
		return fmt.Errorf("there is no %s", code)
	}
	return nil
}

func (s source) checkSymbol(pkg, name string) error {
	var matching []string
	for full := range s.packages {
		if full == pkg || strings.HasSuffix(full, "/"+pkg) {
			matching = append(matching, full)
		}
	}
	switch {
	case len(matching) == 0:
		return fmt.Errorf("%s.%s: there is no package %s", pkg, name, pkg)
	case len(matching) > 1:
		slices.Sort(matching)
		return fmt.Errorf("%s.%s: %s is ambiguous: %s", pkg, name, pkg, strings.Join(matching, ", "))
	case !s.packages[matching[0]][name]:
		return fmt.Errorf("%s.%s: %s does not declare it", pkg, name, matching[0])
	}
	return nil
}

// paragraph matches a paragraph about a package, which begins with its path.
var paragraph = regexp.MustCompile("(?m)^\\*\\*`([^`]+)`\\*\\*((?:.+\n)*)")

// undescribed returns the packages without exactly one correct paragraph.
func (s source) undescribed(page string) []string {
	var found []string
	described := make(map[string]int)
	for _, match := range paragraph.FindAllStringSubmatch(page, -1) {
		name, text := match[1], match[2]
		described[name]++
		if s.packages[name] == nil {
			found = append(found, "there is no package "+name)
		} else if !strings.Contains(text, "must not") {
			found = append(found, name+": the paragraph does not say what the package must not know")
		}
	}
	for name := range s.packages {
		if described[name] != 1 {
			found = append(found, fmt.Sprintf("%s has %d paragraphs", name, described[name]))
		}
	}
	slices.Sort(found)
	return found
}

// section returns the text below a heading, up to the next of the same level.
func section(page, heading string) string {
	_, rest, _ := strings.Cut(page, "\n"+heading+"\n")
	level, _, _ := strings.Cut(heading, " ")
	text, _, _ := strings.Cut(rest, "\n"+level+" ")
	return text
}

// subsections returns the subsections of a section, by heading.
func subsections(text string) map[string]string {
	all := make(map[string]string)
	for _, part := range strings.Split("\n"+text, "\n### ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		all[heading] = body
	}
	return all
}

// steps returns the items of the numbered list in a text, with continuation lines.
func steps(text string) []string {
	return regexp.MustCompile(`(?m)^\d+\. .*\n(?:   +.*\n)*`).FindAllString(text+"\n", -1)
}

// badWalks returns each walk that is too short or too long, and each step that names
// no function.
func badWalks(walks string) []string {
	var found []string
	for heading, text := range subsections(walks) {
		all := steps(text)
		if len(all) < 10 || len(all) > 20 {
			found = append(found, fmt.Sprintf("%s: %d steps", heading, len(all)))
		}
		for _, step := range all {
			if !slices.ContainsFunc(codeForm.FindAllStringSubmatch(step, -1), func(match []string) bool {
				return symbolForm.MatchString(match[1]) && !fileName.MatchString(match[1])
			}) {
				found = append(found, fmt.Sprintf("%s: no function in %q", heading, step))
			}
		}
	}
	return found
}

// badRecipes returns each recipe without a file or a test.
func badRecipes(recipes string) []string {
	var found []string
	for heading, text := range subsections(recipes) {
		var files, tests int
		for _, match := range codeForm.FindAllStringSubmatch(text, -1) {
			if testForm.MatchString(match[1]) {
				tests++
			} else if pathForm.MatchString(match[1]) {
				files++
			}
		}
		if len(steps(text)) == 0 || files == 0 || tests == 0 {
			found = append(found, fmt.Sprintf("%s: %d steps, %d files, %d tests", heading, len(steps(text)), files, tests))
		}
	}
	return found
}

func TestArchitecture_RefersOnlyToWhatExists(t *testing.T) {
	s, page := readSource(t), text(t, architecture)
	for _, wrong := range s.wrongReferences(page) {
		t.Errorf("%s, %s", architecture, wrong)
	}
	references := 0
	for _, match := range codeForm.FindAllStringSubmatch(page, -1) {
		if symbolForm.MatchString(match[1]) {
			references++
		}
	}
	if references < 200 {
		t.Errorf("got %d references, want at least 200: has their notation changed?", references)
	}
}

func TestArchitecture_DescribesEveryPackageOnce(t *testing.T) {
	for _, wrong := range readSource(t).undescribed(text(t, architecture)) {
		t.Errorf("%s: %s", architecture, wrong)
	}
}

func TestArchitecture_WalksNameFunctionsAndRecipesNameTests(t *testing.T) {
	page := text(t, architecture)
	walks, recipes := section(page, "## Walks"), section(page, "## Recipes")
	if len(subsections(walks)) < 4 || len(subsections(recipes)) < 6 {
		t.Errorf("got %d walks and %d recipes, want at least 4 and 6", len(subsections(walks)), len(subsections(recipes)))
	}
	for _, wrong := range slices.Concat(badWalks(walks), badRecipes(recipes)) {
		t.Errorf("%s: %s", architecture, wrong)
	}
}

func text(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sampleSource returns a small tree.
func sampleSource(t *testing.T) source {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "spool.go", `package spool
		type Spool struct{ mu, other int; Named }
		type Named interface{ Name() string }
		type List[T any] struct{}
		type Call[Q, A any] string
		const Size, Limit = 1, 2
		var words = 3
		func Open() {}
		func (s *Spool) write() {}
		func (List[T]) Len() int { return 0 }
		func (c Call[Q, A]) Do() {}
	`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	declared := make(symbols)
	declared.add(file)
	return source{
		packages: map[string]symbols{"relay/spool": declared, "a/operator": {"Box": true}, "b/operator": {"Local": true}, "hal": {"TPM": true}},
		tests:    map[string]bool{"TestOpen": true},
		files:    func(name string) bool { return path.Dir(name) == "relay/spool" },
	}
}

func TestWrongReferences_FindsOnlyWhatDoesNotExist(t *testing.T) {
	s := sampleSource(t)
	for code, want := range map[string]string{
		"spool.Open":              "",
		"relay/spool.Open":        "",
		"spool.Spool":             "",
		"spool.Spool.write":       "",
		"spool.Spool.mu":          "",
		"spool.Spool.other":       "",
		"spool.Named.Name":        "",
		"spool.List.Len":          "",
		"spool.Call.Do":           "",
		"spool.Limit":             "",
		"spool.words":             "",
		"a/operator.Box":          "",
		"hal.TPM":                 "",
		"spool.open":              "relay/spool does not declare it",
		"spool.write":             "relay/spool does not declare it",
		"spool.Spool.Open":        "relay/spool does not declare it",
		"spool.Spool.Name":        "relay/spool does not declare it",
		"spool.Named.Other":       "relay/spool does not declare it",
		"spool.List.Cap":          "relay/spool does not declare it",
		"pool.Open":               "there is no package pool",
		"other/spool.Open":        "there is no package other/spool",
		"time.AfterFunc":          "there is no package time",
		"Spool.write":             "there is no package Spool",
		"mailSpool.write":         "there is no package mailSpool",
		"spool.Open()":            "",
		"spool.Close()":           "relay/spool does not declare it",
		"operator.Box":            "operator is ambiguous: a/operator, b/operator",
		"a/operator.Local":        "a/operator does not declare it",
		"TestOpen":                "",
		"TestClose":               "there is no test TestClose",
		"relay/spool/spool.go":    "",
		"relay/spool/":            "",
		"relay/spools/spool.go":   "there is no relay/spools/spool.go",
		"sealpost.toml":           "",
		"/dev/tpmrm0":             "",
		"sealpost journal --json": "",
		"restart":                 "",
	} {
		found := s.wrongReferences("first\n\nthe `" + code + "` of it\n")
		switch {
		case want == "" && len(found) > 0:
			t.Errorf("%s: got %v, want none", code, found)
		case want != "" && (len(found) != 1 || !strings.HasPrefix(found[0], "line 3: ") || !strings.HasSuffix(found[0], want)):
			t.Errorf("%s: got %q, want %q", code, found, want)
		}
	}
}

func TestChecks_FindWhatAPageLacks(t *testing.T) {
	const good = "**`relay/spool`** keeps. It must not\nknow.\n\n**`a/operator`** must not.\n\n**`b/operator`** must not.\n\n**`hal`** must not.\n"
	s := sampleSource(t)
	for page, want := range map[string]string{
		good:                                   "[]",
		good + "\n**`hal`** must not again.\n": "[hal has 2 paragraphs]",
		good + "\n**`gone`** must not.\n":      "[there is no package gone]",
		strings.Replace(good, "**`a/operator`**", "`a/operator`", 1):    "[a/operator has 0 paragraphs]",
		strings.Replace(good, "It must not\nknow", "It\n\nmust not", 1): "[relay/spool: the paragraph does not say what the package must not know]",
	} {
		if got := fmt.Sprint(s.undescribed(page)); got != want {
			t.Errorf("%s\ngot %s, want %s", page, got, want)
		}
	}
	step := "1. One\n   calls `spool.Open`.\n"
	for walk, want := range map[string]int{
		"### W\n\n" + strings.Repeat(step, 10):                                0,
		"### W\n\n" + strings.Repeat(step, 9):                                 1,
		"### W\n\n" + strings.Repeat(step, 21):                                1,
		"### W\n\n" + strings.Repeat(step, 10) + "11. It reads `box.toml`.\n": 1,
		"### W\n\n" + strings.Repeat("1. Nothing.\n", 10):                     10,
	} {
		if got := badWalks(walk); len(got) != want {
			t.Errorf("%s\ngot %q, want %d faults", walk, got, want)
		}
	}
	for recipe, want := range map[string]int{
		"### R\n\n1. In `relay/spool/spool.go`.\n2. `TestOpen`.\n": 0,
		"### R\n\n1. In `relay/spool/spool.go`.\n":                 1,
		"### R\n\n1. `TestOpen`.\n":                                1,
		"### R\n\nIn `relay/spool/spool.go`; `TestOpen`.\n":        1,
	} {
		if got := badRecipes(recipe); len(got) != want {
			t.Errorf("%s\ngot %q, want %d faults", recipe, got, want)
		}
	}
}
