// Package printable makes untrusted text safe to show: in logs, on terminals, in
// replies.
//
// It knows Unicode. It must not know where a text comes from or where it goes.
package printable

import (
	"strings"
	"unicode"
)

// Line replaces everything in a text that is not printable by U+FFFD: control
// characters, also those of ISO 8859 (C1), bidirectional marks, line breaks and
// what is not UTF-8.
func Line(text string) string { return replace(text, "") }

// Text is Line, but keeps line feeds and tabs.
func Text(text string) string { return replace(text, "\n\t") }

func replace(text, keep string) string {
	if isPrintableASCII(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r), strings.ContainsRune(keep, r):
			return r
		case unicode.Is(unicode.Zs, r): // such as a no-break space
			return ' '
		}
		return unicode.ReplacementChar
	}, text)
}

// isPrintableASCII reports whether nothing of a text has to be replaced, as it is for most
// texts.
func isPrintableASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
