package settings

import "fmt"

// maxDepth is more than any settings have: three names make a key, and two
// brackets a list in a list.
const maxDepth = 16

// checkDepth rejects a text whose keys or values are nested deeply before it is
// parsed: the parser takes memory for each level of each key. It knows of TOML only
// strings and comments.
func checkDepth(text []byte) error {
	line, brackets, dots := 1, 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\n':
			line++
			dots = 0
		case '#':
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			end, lines := endOfString(text[i:])
			i += end - 1
			line += lines
		case '.':
			dots++
		case '[', '{':
			brackets++
		case ']', '}':
			brackets = max(0, brackets-1)
		}
		if brackets > maxDepth || dots > maxDepth {
			return Errors{{Line: line, Message: fmt.Sprintf("this is nested more than %d deep: write settings as in sealpost.toml", maxDepth)}}
		}
	}
	return nil
}

// endOfString returns the length of the string that a text begins with, and the number
// of line ends in it. For a string without a closing quotation mark the length is 1; the
// parser reports that error.
func endOfString(text []byte) (length, lines int) {
	quote, width := text[0], 1
	if len(text) >= 3 && text[1] == quote && text[2] == quote {
		width = 3
	}
	for i := width; i < len(text); i++ {
		switch {
		case text[i] == '\n' && width == 1:
			return 1, 0
		case text[i] == '\n':
			lines++
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote && (width == 1 || i+2 < len(text) && text[i+1] == quote && text[i+2] == quote):
			return i + width, lines
		}
	}
	return 1, 0
}
