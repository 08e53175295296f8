package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// suite is the Debian release of board/card.
const suite = "trixie"

// ours are the names of the files on a card that are from this source tree.
var ours = []string{"autoboot.txt", "cmdline.txt", "config.txt", "LICENSES.txt"}

// card is the bill of materials of a card, with what the files on it are made from.
type card struct {
	*bom
	options
	linux, firmware, program *part
	initramfs                []*part
}

// readCard describes a card: each file of its partitions and of its initramfs, and what
// these were made from. A file of unknown origin is an error.
func readCard(o options) (*bom, error) {
	b, err := newBOM(cyclonedx.ComponentTypeFirmware, o.image, "sealpost-"+o.board, o)
	if err != nil {
		return nil, err
	}
	c := &card{bom: b, options: o}
	b.whole().Licenses = named("those of its components")
	for _, step := range []func() error{c.addPackages, c.addProgram, c.addInitramfs, c.addPartitions} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// addPackages adds the Debian packages. The file packages has a line with the package,
// its version and its source for each.
func (c *card) addPackages() error {
	content, err := os.ReadFile(filepath.Join(c.debian, "packages"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		var name, version, source string
		if _, err := fmt.Sscan(line, &name, &version, &source); err != nil {
			return fmt.Errorf("reading the list of packages: %w", err)
		}
		purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=source&distro=%s", source, url.QueryEscape(version), suite)
		p := c.add(cyclonedx.Component{BOMRef: purl, Name: source, Version: version, PackageURL: purl,
			Supplier: &cyclonedx.OrganizationalEntity{Name: "Debian"}})
		switch source {
		case "linux":
			p.Type, p.Licenses, c.linux = cyclonedx.ComponentTypeOS, expression("GPL-2.0-only WITH Linux-syscall-note"), p
		case "raspi-firmware":
			p.Type, p.Licenses, c.firmware = cyclonedx.ComponentTypeFirmware, named("licence of the Raspberry Pi's firmware"), p
		default:
			return fmt.Errorf("nothing is known of the package %s", name)
		}
	}
	if c.linux == nil || c.firmware == nil {
		return fmt.Errorf("the packages lack the kernel or the firmware")
	}
	return nil
}

func (c *card) addProgram() (err error) {
	sum, err := digest(c.options.program)
	if err != nil {
		return err
	}
	c.program = c.add(cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, BOMRef: "sealpost@" + c.version, Name: "sealpost",
		Version: c.version, Hashes: hashes(sum), Licenses: named(noLicence)})
	c.program.dependsOn, err = c.addModules(c.options)
	return err
}

func (c *card) addInitramfs() error {
	return walk(c.root, func(file, name string) error {
		at := "initramfs/" + name
		p, original := c.program, c.options.program
		switch name {
		case "init":
			p.occurs(at)
		case "etc/sealpost/board.toml", "dev/null":
			original = filepath.Join(c.source, "board", c.board, "board.toml")
			if name == "dev/null" {
				original = os.DevNull
			}
			var err error
			if p, err = c.addFile(file, name, named(noLicence), at); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the origin of %s is not known", at)
		}
		c.initramfs = append(c.initramfs, p)
		return same(file, original)
	})
}

// addPartitions adds the files of the partitions, which have two folders: that of the
// first, and that of both slots.
func (c *card) addPartitions() error {
	for _, place := range []struct {
		folder     string
		partitions []string
	}{{"choice", []string{"partition1"}}, {"slot", []string{"partition2", "partition3"}}} {
		err := walk(filepath.Join(c.partitions, place.folder), func(file, name string) error {
			licence, dependsOn, err := c.origin(file, name)
			if err != nil {
				return err
			}
			var at []string
			for _, partition := range place.partitions {
				at = append(at, partition+"/"+name)
			}
			p, err := c.addFile(file, name, licence, at...)
			if err != nil {
				return err
			}
			if p.dependsOn = dependsOn; !slices.Contains(c.whole().dependsOn, p) {
				c.whole().dependsOn = append(c.whole().dependsOn, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// origin returns the licence of a file of a partition, and what it was made from.
func (c *card) origin(file, name string) (*cyclonedx.Licenses, []*part, error) {
	switch {
	case name == "Image":
		return c.linux.Licenses, append([]*part{c.linux}, c.initramfs...), nil
	case strings.HasSuffix(name, ".dtb"):
		overlays, err := c.appliedOverlays()
		return c.linux.Licenses, append([]*part{c.linux}, overlays...), err
	case slices.Contains(ours, name):
		return named(noLicence), nil, nil
	}
	packaged := filepath.Join(c.debian, "usr/lib/raspi-firmware", name)
	if _, err := os.Stat(packaged); err != nil {
		return nil, nil, fmt.Errorf("the origin of %s is not known", name)
	}
	return c.firmware.Licenses, []*part{c.firmware}, same(file, packaged)
}

// appliedOverlays returns the sources of the overlays in the device trees, which
// post-image.sh lists for each of them.
func (c *card) appliedOverlays() ([]*part, error) {
	content, err := os.ReadFile(c.overlays)
	if err != nil {
		return nil, err
	}
	var all []*part
	for name := range strings.FieldsSeq(string(content)) {
		p, err := c.addFile(filepath.Join(c.source, "board/overlays", name), name, named(noLicence))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all, nil
}

// walk calls do for each file below dir, with its path and its name below dir.
func walk(dir string, do func(file, name string) error) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		return do(file, name)
	})
}

// same fails if two files differ.
func same(file, original string) error {
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	want, err := os.ReadFile(original)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s differs from %s", file, original)
	}
	return err
}
