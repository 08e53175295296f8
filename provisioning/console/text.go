package console

import (
	"fmt"
	"strings"
	"time"
)

// columns is the line width that every terminal shows.
const columns = 78

// asciiReplacer replaces the typographic characters of our own texts by ASCII.
var asciiReplacer = strings.NewReplacer("…", "...", "–", "-", "—", "-", "“", `"`, "”", `"`, "‘", "'", "’", "'", "\t", " ")

// ascii makes any text printable on any terminal.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r < ' ' || r == 0x7f:
			return -1
		case r > 0x7f:
			return '?'
		}
		return r
	}, asciiReplacer.Replace(text))
}

// wrap breaks each line at spaces, and begins continuation lines with the
// indent.
func wrap(text, indent string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		for len(line) > columns {
			at := strings.LastIndexByte(line[:columns+1], ' ')
			if at <= len(indent) {
				at = columns // one word, longer than the line
			}
			lines = append(lines, strings.TrimRight(line[:at], " "))
			line = indent + strings.TrimLeft(line[at:], " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// minutes formats a duration as a countdown, such as "1:05".
func minutes(d time.Duration) string {
	whole := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", whole/60, whole%60)
}
