package console

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// columns is what every terminal shows in one line.
const columns = 78

// plainer are the characters that our own words use, as a terminal with any
// character set shows them.
var plainer = strings.NewReplacer("…", "...", "–", "-", "—", "-", "“", `"`, "”", `"`, "‘", "'", "’", "'", "\t", " ")

// ascii makes any text safe to print on a terminal.
func ascii(words string) string {
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
	}, plainer.Replace(words))
}

// wrap breaks each line of words at spaces, and begins the lines that follow
// with the indent.
func wrap(words, indent string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(words, "\n"), "\n") {
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

// minutes writes a length of time as a countdown shows it, such as "1:05".
func minutes(d time.Duration) string {
	whole := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", whole/60, whole%60)
}

// harmless keeps a text as it is, but for what steers a terminal.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return -1
	}, text)
}
