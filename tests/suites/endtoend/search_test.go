package endtoend

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// piece is how many bytes of a number count as a find; so many do not agree by
// chance. DER is looked for whole, as parts of it are public.
const piece = 16

// needles are byte strings to be found in a haystack in one pass.
type needles struct {
	byStart map[[4]byte][]needle
	starts  [1 << 16]bool // by the first two bytes
}

type needle struct {
	name string
	data []byte
}

func (n *needles) add(name string, data []byte) {
	if n.byStart == nil {
		n.byStart = make(map[[4]byte][]needle)
	}
	start := [4]byte(data)
	n.byStart[start] = append(n.byStart[start], needle{name, data})
	n.starts[int(data[0])<<8|int(data[1])] = true
}

// addSecret adds a secret in each form that a program or a file may give it.
func (n *needles) addSecret(name string, secret []byte) {
	if strings.HasPrefix(name, "PKCS") || strings.HasPrefix(name, "SEC") {
		n.addEncoded(name, secret)
		return
	}
	backwards := slices.Clone(secret)
	slices.Reverse(backwards)
	// The words of math/big, the least significant first, are on a
	// little-endian machine the same as backwards; the most significant first,
	// they are not.
	words := slices.Clone(backwards)
	words = append(words, make([]byte, -len(words)&7)...)
	words = slices.Concat(reversed(slices.Collect(slices.Chunk(words, 8)))...)
	for order, form := range map[string][]byte{"big-endian": secret, "little-endian": backwards, "in 64-bit words": words} {
		for i := 0; i+piece <= len(form); i += piece {
			n.addEncoded(fmt.Sprintf("%s, %s, from byte %d", name, order, i), form[i:i+piece])
		}
	}
}

func reversed(chunks [][]byte) [][]byte {
	slices.Reverse(chunks)
	return chunks
}

// addEncoded adds data as it is and in base64, which JSON uses, at each of its
// three positions among the groups of three bytes.
func (n *needles) addEncoded(name string, data []byte) {
	n.add(name, data)
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), data...))
		// What the neighbours have a share in is left out at both ends.
		n.add(name+" in base64", []byte(text[4:len(text)-4]))
	}
}

// in gives the names of the needles in the haystack.
func (n *needles) in(haystack []byte) []string {
	var found []string
	for i := 0; i+4 <= len(haystack); i++ {
		if !n.starts[int(haystack[i])<<8|int(haystack[i+1])] {
			continue
		}
		for _, needle := range n.byStart[[4]byte(haystack[i:])] {
			if bytes.HasPrefix(haystack[i:], needle.data) && !slices.Contains(found, needle.name) {
				found = append(found, needle.name)
			}
		}
	}
	return found
}

// base64Run is what may be base64 and long enough for a find.
var base64Run = regexp.MustCompile(`[A-Za-z0-9+/]{24,}`)

// layers gives data and whatever it holds in base64, at any depth: the state
// file is JSON in JSON.
func layers(data []byte) [][]byte {
	all := [][]byte{data}
	for _, run := range base64Run.FindAll(data, -1) {
		if inner, err := base64.RawStdEncoding.DecodeString(string(run)); err == nil {
			all = append(all, layers(inner)...)
		}
	}
	return all
}
