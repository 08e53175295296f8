package main

import (
	"debug/buildinfo"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// readProgram describes a program of Go modules.
func readProgram(o options) (*bom, error) {
	b, err := newBOM(cyclonedx.ComponentTypeApplication, o.program, "sealpost", o)
	if err != nil {
		return nil, err
	}
	b.whole().Licenses = named(noLicence)
	b.whole().dependsOn, err = b.addModules(o)
	return b, err
}

// addModules adds the modules that are linked into the program, "std" for the standard
// library.
func (b *bom) addModules(o options) ([]*part, error) {
	info, err := buildinfo.ReadFile(o.program)
	if err != nil {
		return nil, err
	}
	known, err := readLicences(o.licences)
	if err != nil {
		return nil, err
	}
	var modules []*part
	add := func(path, version, heading string) error {
		licence, err := known.of(heading)
		if err != nil {
			return err
		}
		purl := "pkg:golang/" + path + "@" + version
		modules = append(modules, b.add(cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, BOMRef: purl,
			Name: path, Version: version, PackageURL: purl, Licenses: licence}))
		return nil
	}
	toolchain, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	if err := add("std", toolchain, "Go's standard library"); err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if err := add(m.Path, m.Version, m.Path+" "+m.Version); err != nil {
			return nil, err
		}
	}
	return modules, nil
}
