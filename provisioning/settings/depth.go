package settings

import (
	"bytes"
	"fmt"
)

// maxDepth is more than any settings have: three names make a key, and two
// brackets a list in a list.
const maxDepth = 16

// checkDepth rejects a text whose keys or values are nested deeply before it is
// parsed: the parser takes memory for each level of each key.
func checkDepth(text []byte) error {
	number, depth := 0, 0
	for line := range bytes.Lines(text) {
		number++
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			case '\n':
				depth = max(depth, 0)
			}
			if depth > maxDepth {
				return tooDeep(number)
			}
		}
		if dotsInKey(line) > maxDepth {
			return tooDeep(number)
		}
	}
	return nil
}

// dotsInKey counts the dots outside quotes in the key of a line, or in its name of
// a section.
func dotsInKey(line []byte) int {
	line = bytes.TrimSpace(line)
	key, _, isKey := bytes.Cut(line, []byte("="))
	if bytes.HasPrefix(line, []byte("#")) || !isKey && !bytes.HasPrefix(line, []byte("[")) {
		return 0
	}
	dots, quote := 0, byte(0)
	for _, c := range key {
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == '.':
			dots++
		}
	}
	return dots
}

func tooDeep(line int) error {
	return Errors{{Line: line, Message: fmt.Sprintf("this is nested more than %d deep: write settings as in sealpost.toml", maxDepth)}}
}
