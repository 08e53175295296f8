package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/CycloneDX/cyclonedx-go"
)

// bom is an unfinished bill of materials of one file.
type bom struct {
	bom   *cyclonedx.BOM
	parts []*part
	byRef map[string]*part
}

// part is a component, with what it was made from or needs, and where it is.
type part struct {
	cyclonedx.Component
	dependsOn   []*part
	occurrences []cyclonedx.EvidenceOccurrence
}

// newBOM begins a bill of materials, whose first part is what it describes.
func newBOM(kind cyclonedx.ComponentType, file, name string, o options) (*bom, error) {
	sum, err := digest(file)
	if err != nil {
		return nil, err
	}
	// The serial number follows from the file, so that two builds are alike: a UUID of
	// version 8, whose content is free (RFC 9562).
	id := sum
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	b := &bom{cyclonedx.NewBOM(), nil, map[string]*part{}}
	b.bom.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	b.bom.Metadata = &cyclonedx.Metadata{Timestamp: o.date}
	b.add(cyclonedx.Component{Type: kind, BOMRef: filepath.Base(file), Name: name, Version: o.version, Hashes: hashes(sum)})
	return b, nil
}

func (b *bom) whole() *part { return b.parts[0] }

func (b *bom) add(c cyclonedx.Component) *part {
	p := &part{Component: c}
	b.parts = append(b.parts, p)
	b.byRef[c.BOMRef] = p
	return p
}

// addFile adds a file, or another place of one that was added.
func (b *bom) addFile(file, name string, licence *cyclonedx.Licenses, at ...string) (*part, error) {
	sum, err := digest(file)
	if err != nil {
		return nil, err
	}
	ref := fmt.Sprintf("%s@sha256:%x", name, sum)
	p := b.byRef[ref]
	if p == nil {
		p = b.add(cyclonedx.Component{Type: cyclonedx.ComponentTypeFile, BOMRef: ref, Name: name, Hashes: hashes(sum), Licenses: licence})
	}
	p.occurs(at...)
	return p, nil
}

func (p *part) occurs(at ...string) {
	for _, location := range at {
		p.occurrences = append(p.occurrences, cyclonedx.EvidenceOccurrence{Location: location})
	}
}

func (b *bom) finish() *cyclonedx.BOM {
	var components []cyclonedx.Component
	var dependencies []cyclonedx.Dependency
	for i, p := range b.parts {
		if len(p.occurrences) > 0 {
			p.Evidence = &cyclonedx.Evidence{Occurrences: &p.occurrences}
		}
		if i == 0 {
			b.bom.Metadata.Component = &p.Component
		} else {
			components = append(components, p.Component)
		}
		on := []string{}
		for _, other := range p.dependsOn {
			on = append(on, other.BOMRef)
		}
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: p.BOMRef, Dependencies: &on})
	}
	b.bom.Components, b.bom.Dependencies = &components, &dependencies
	return b.bom
}

func digest(file string) ([sha256.Size]byte, error) {
	content, err := os.ReadFile(file)
	return sha256.Sum256(content), err
}

func hashes(sum [sha256.Size]byte) *[]cyclonedx.Hash {
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sum)}}
}
