// Command licenses writes the licences of everything that is linked into the program
// for any target, compressed, for cmd/sealpost/internal/licenses/licenses.gz.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// targets are the platforms of the Makefile.
var targets = [][]string{{"GOARCH=arm64"}, {"GOARCH=arm", "GOARM=7"}, {"GOARCH=amd64"}}

// licenseName matches the files that a licence requires to be distributed.
var licenseName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([.-].*)?$`)

// module is a linked module and the folder of its source.
type module struct{ Path, Version, Dir string }

func main() {
	text, err := licenses("cmd/sealpost")
	if err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
	w, _ := gzip.NewWriterLevel(os.Stdout, gzip.BestCompression)
	if _, err := io.WriteString(w, text); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
	if err := w.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

// licenses returns the licences of the standard library and of the modules that are
// linked into the program in dir, sorted by module path.
func licenses(dir string) (string, error) {
	modules, err := linkedModules(dir)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("finding Go's folder: %w", err)
	}
	goLicense, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if err != nil {
		return "", fmt.Errorf("reading Go's licence: %w", err)
	}
	fmt.Fprintf(&text, "== Go's standard library: LICENSE\n\n%s\n", goLicense)
	for _, m := range modules {
		entries, err := os.ReadDir(m.Dir)
		if err != nil {
			return "", fmt.Errorf("looking for the licence of %s: %w", m.Path, err)
		}
		found := false
		for _, entry := range entries {
			if !licenseName.MatchString(entry.Name()) {
				continue
			}
			content, err := os.ReadFile(filepath.Join(m.Dir, entry.Name()))
			if err != nil {
				return "", fmt.Errorf("reading the licence of %s: %w", m.Path, err)
			}
			found = true
			content = bytes.TrimSpace(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
			fmt.Fprintf(&text, "== %s %s: %s\n\n%s\n\n", m.Path, m.Version, entry.Name(), content)
		}
		if !found {
			return "", fmt.Errorf("%s %s has no licence file", m.Path, m.Version)
		}
	}
	return text.String(), nil
}

// linkedModules returns the modules of the builds for all targets, each once.
func linkedModules(dir string) ([]module, error) {
	all := map[string]module{}
	for _, target := range targets {
		list := exec.Command("go", "list", "-deps", "-json=Module", ".")
		list.Dir = dir
		list.Env = append(os.Environ(), append(target, "GOOS=linux", "CGO_ENABLED=0")...)
		list.Stderr = os.Stderr
		output, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("listing the linked modules for %s: %w", target, err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
			var p struct {
				Module *struct {
					module
					Main bool
				}
			}
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			if p.Module != nil && !p.Module.Main {
				all[p.Module.Path] = p.Module.module
			}
		}
	}
	var modules []module
	for _, m := range all {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}
