// Command package makes a Debian package from a configuration of nfpm. It is a module
// of its own, so that nfpm's dependencies stay out of the program's go.mod, and uses
// nfpm's packages for .deb only: its command would bring those for every other format.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
)

func main() {
	config := flag.String("config", "", "the configuration `file`, in whose text $NAME stands for the environment's NAME")
	target := flag.String("target", ".", "the `folder` for the package")
	flag.Parse()
	if err := makePackage(*config, *target); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

func makePackage(config, target string) error {
	// The times in the package are those of SOURCE_DATE_EPOCH.
	parsed, err := nfpm.ParseFileWithEnvMapping(config, os.Getenv)
	if err != nil {
		return fmt.Errorf("reading %s: %w", config, err)
	}
	info, err := parsed.Get("deb")
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.Validate(info); err != nil {
		return fmt.Errorf("checking %s: %w", config, err)
	}
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return fmt.Errorf("collecting the files: %w", err)
	}
	packager, err := nfpm.Get("deb")
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(target, packager.ConventionalFileName(info)))
	if err != nil {
		return err
	}
	if err := packager.Package(info, file); err != nil {
		_ = file.Close()
		return fmt.Errorf("packing %s: %w", file.Name(), err)
	}
	return file.Close()
}
