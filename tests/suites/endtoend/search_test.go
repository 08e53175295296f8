package endtoend

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// minMatch is the number of bytes of a secret number that count as a match: too
// many to match by chance. DER is searched for as a whole, as parts of it are public.
const minMatch = 16

// patterns searches data for many byte strings in one pass.
type patterns struct {
	byStart map[[4]byte][]pattern
	starts  [1 << 16]bool // by the first two bytes
}

type pattern struct {
	name string
	data []byte
}

func (p *patterns) add(name string, data []byte) {
	if p.byStart == nil {
		p.byStart = make(map[[4]byte][]pattern)
	}
	start := [4]byte(data)
	p.byStart[start] = append(p.byStart[start], pattern{name, data})
	p.starts[int(data[0])<<8|int(data[1])] = true
}

// addSecret adds a secret in each encoding that a program or a file may use.
func (p *patterns) addSecret(name string, secret []byte) {
	if strings.HasPrefix(name, "PKCS") || strings.HasPrefix(name, "SEC") {
		p.addEncoded(name, secret)
		return
	}
	backwards := slices.Clone(secret)
	slices.Reverse(backwards)
	// math/big stores words with the least significant first, which is backwards on
	// a little-endian machine. The reverse order of words is a third form.
	words := slices.Clone(backwards)
	words = append(words, make([]byte, -len(words)&7)...)
	words = slices.Concat(reversed(slices.Collect(slices.Chunk(words, 8)))...)
	for order, form := range map[string][]byte{"big-endian": secret, "little-endian": backwards, "in 64-bit words": words} {
		for i := 0; i+minMatch <= len(form); i += minMatch {
			p.addEncoded(fmt.Sprintf("%s, %s, from byte %d", name, order, i), form[i:i+minMatch])
		}
	}
}

func reversed(chunks [][]byte) [][]byte {
	slices.Reverse(chunks)
	return chunks
}

// addEncoded adds data as it is and in base64, which JSON uses, at each of its
// three positions among the groups of three bytes.
func (p *patterns) addEncoded(name string, data []byte) {
	p.add(name, data)
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), data...))
		// The groups at both ends depend on adjacent bytes too.
		p.add(name+" in base64", []byte(text[4:len(text)-4]))
	}
}

// findIn returns the names of the patterns in data.
func (p *patterns) findIn(data []byte) []string {
	var found []string
	for i := 0; i+4 <= len(data); i++ {
		if !p.starts[int(data[i])<<8|int(data[i+1])] {
			continue
		}
		for _, pattern := range p.byStart[[4]byte(data[i:])] {
			if bytes.HasPrefix(data[i:], pattern.data) && !slices.Contains(found, pattern.name) {
				found = append(found, pattern.name)
			}
		}
	}
	return found
}

// base64Run matches what can be base64 and is long enough for a match.
var base64Run = regexp.MustCompile(`[A-Za-z0-9+/]{24,}`)

// decodeNested returns data and everything in base64 inside it, at any depth: the
// state file is JSON in JSON.
func decodeNested(data []byte) [][]byte {
	all := [][]byte{data}
	for _, run := range base64Run.FindAll(data, -1) {
		if inner, err := base64.RawStdEncoding.DecodeString(string(run)); err == nil {
			all = append(all, decodeNested(inner)...)
		}
	}
	return all
}
