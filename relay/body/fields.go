package body

import "bytes"

// fieldCounter counts the Received fields of a header, and detects its end: an empty line,
// or a line that no header contains, because devices omit the empty line.
type fieldCounter struct {
	received int
	begun    bool
	inBody   bool
	name     []byte // the beginning of the current line
}

var (
	receivedField = []byte("received")
	mboxLine      = []byte("From ")
)

// longestName is the length of the longest field name.
const longestName = 100

func (c *fieldCounter) octet(octet byte) {
	if !c.inBody && len(c.name) <= longestName {
		c.name = append(c.name, octet)
	}
}

func (c *fieldCounter) text(p []byte) {
	if missing := longestName + 1 - len(c.name); !c.inBody && missing > 0 {
		c.name = append(c.name, p[:min(missing, len(p))]...)
	}
}

func (c *fieldCounter) endLine() {
	if c.inBody {
		return
	}
	if bytes.EqualFold(fieldName(c.name), receivedField) {
		c.received++
	}
	c.inBody = !c.isHeaderLine(c.name)
	c.begun, c.name = true, c.name[:0]
}

// inHeader reports whether the current line is one of the header. start is its beginning,
// or nil if that was counted.
func (c *fieldCounter) inHeader(start []byte) bool {
	if start == nil {
		start = c.name
	}
	return !c.inBody && c.isHeaderLine(start[:min(len(start), longestName+1)])
}

// isHeaderLine reports whether a header contains a line that begins with p: a field, a
// folded line, or as its first line that of a mailbox file.
func (c *fieldCounter) isHeaderLine(p []byte) bool {
	if len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		return c.begun
	}
	return fieldName(p) != nil || !c.begun && bytes.HasPrefix(bytes.TrimPrefix(p, []byte(">")), mboxLine)
}

// fieldName returns the name of the field that a line begins with, or nil.
func fieldName(line []byte) []byte {
	name, _, found := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !found || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil
	}
	return name
}
