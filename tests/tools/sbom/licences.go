package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/CycloneDX/cyclonedx-go"
	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// noLicence is what board/debian/copyright says of Sealpost itself.
const noLicence = "Sealpost has no licence yet"

// heading begins the licence of a module in the output of sealpost licenses.
var heading = regexp.MustCompile(`(?m)^== (.+): (\S+)$`)

// identifier is what a text itself says of its licence.
var identifier = regexp.MustCompile(`(?m)SPDX-License-Identifier: ([\w.+() -]*\w)`)

// licences are texts by what they are for, as in the headings.
type licences struct {
	texts map[string]string
	known *classifier.Classifier
}

// classify loads the texts that are known once; it takes seconds.
var classify = sync.OnceValues(assets.DefaultClassifier)

func readLicences(file string) (*licences, error) {
	compressed, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer compressed.Close()
	r, err := gzip.NewReader(compressed)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	known, err := classify()
	if err != nil {
		return nil, fmt.Errorf("reading the known licences: %w", err)
	}
	l := &licences{map[string]string{}, known}
	starts := heading.FindAllSubmatchIndex(content, -1)
	for i, at := range starts {
		end := len(content)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		l.texts[string(content[at[2]:at[3]])] += string(content[at[1]:end])
	}
	return l, nil
}

// of returns the SPDX identifiers of a licence, or an error if its text is not one that
// is known.
func (l *licences) of(name string) (*cyclonedx.Licenses, error) {
	text, ok := l.texts[name]
	if !ok {
		return nil, fmt.Errorf("%s has no licence in the texts: run make licenses", name)
	}
	if declared := identifier.FindStringSubmatch(text); declared != nil {
		return expression(declared[1]), nil
	}
	var found []string
	for _, match := range l.known.Match([]byte(text)).Matches {
		if match.MatchType == "License" && match.Confidence >= 0.9 {
			found = append(found, match.Name)
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) != 1 {
		return nil, fmt.Errorf("the licence of %s is not one that is known: found %q", name, found)
	}
	return &cyclonedx.Licenses{{License: &cyclonedx.License{ID: found[0]}}}, nil
}

func expression(spdx string) *cyclonedx.Licenses {
	return &cyclonedx.Licenses{{Expression: spdx}}
}

// named is for a licence without an SPDX identifier.
func named(name string) *cyclonedx.Licenses {
	return &cyclonedx.Licenses{{License: &cyclonedx.License{Name: name}}}
}
