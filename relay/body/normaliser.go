package body

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Normaliser copies a message's content with every line ended by CRLF. Exchange
// Online rejects a bare CR or LF (550 5.6.11), RFC 5321 section 2.3.8 forbids
// both, and SMTP smuggling relies on them. CRs before an LF are one line ending: a
// device that writes CR CR LF has converted its line endings twice.
type Normaliser struct {
	dst       io.Writer
	maxLine   int // octets of a line, without its ending
	length    int // octets of the current line so far
	crs       int // CRs pending until the next octet is known
	lineStart bool
	eightBit  bool
	fields    fieldCounter
}

// ErrLongLine is returned for a line over the limit.
var ErrLongLine = errors.New("a line is too long")

// NewNormaliser returns a normaliser that writes to dst and accepts lines of at
// most maxLine octets, without the line ending.
func NewNormaliser(dst io.Writer, maxLine int) *Normaliser {
	return &Normaliser{dst: dst, maxLine: maxLine, lineStart: true}
}

var crlf = []byte("\r\n")

// Write takes the next part of the content, split anywhere.
func (n *Normaliser) Write(p []byte) (int, error) {
	n.eightBit = n.eightBit || hasEightBit(p)
	total := len(p)
	for len(p) > 0 {
		if fine := n.wholeLines(p); fine > 0 {
			if _, err := n.dst.Write(p[:fine]); err != nil {
				return 0, err
			}
			p = p[fine:]
			continue
		}
		rest, err := n.fixLine(p)
		if err != nil {
			return 0, err
		}
		p = rest
	}
	return total, nil
}

// wholeLines returns how much of p consists of lines that need no change.
func (n *Normaliser) wholeLines(p []byte) (fine int) {
	if n.crs > 0 || !n.lineStart {
		return 0
	}
	for {
		end := lineEnd(p[fine:])
		if end < 0 || end > n.maxLine || !bytes.HasPrefix(p[fine+end:], crlf) {
			return fine
		}
		n.fields.text(p[fine : fine+end])
		n.fields.endLine()
		fine += end + len(crlf)
	}
}

// lineEnd returns the index of the first CR or LF, or -1. It is fast for long lines,
// and its cost is proportional to the result: content may consist of line endings.
func lineEnd(p []byte) int {
	for from, window := 0, 32; from < len(p); window *= 2 {
		part := p[from:min(from+window, len(p))]
		lf := bytes.IndexByte(part, '\n')
		if lf >= 0 {
			part = part[:lf]
		}
		if cr := bytes.IndexByte(part, '\r'); cr >= 0 {
			return from + cr
		}
		if lf >= 0 {
			return from + lf
		}
		from += len(part)
	}
	return -1
}

// fixLine writes p up to the next line ending or to its end, with corrected
// line endings, and returns the rest.
func (n *Normaliser) fixLine(p []byte) (rest []byte, err error) {
	if n.crs > 0 {
		switch p[0] {
		case '\r':
			n.crs++
			return p[1:], nil
		case '\n':
			n.crs = 1
			p = p[1:]
		}
		return p, n.endLines()
	}
	run := lineEnd(p)
	if run < 0 {
		return nil, n.text(p)
	}
	if err := n.text(p[:run]); err != nil {
		return nil, err
	}
	if p[run] == '\r' {
		n.crs = 1
		return p[run+1:], nil
	}
	return p[run+1:], n.endLine()
}

func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if binary.NativeEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, octet := range p {
		if octet > 127 {
			return true
		}
	}
	return false
}

// Close ends the last line if necessary.
func (n *Normaliser) Close() error {
	if n.crs > 0 {
		return n.endLines()
	}
	if !n.lineStart {
		return n.endLine()
	}
	return nil
}

// EightBit reports whether the content has octets above 127.
func (n *Normaliser) EightBit() bool { return n.eightBit }

// Hops returns the number of Received fields in the header, for loop detection
// (RFC 5321 section 6.3).
func (n *Normaliser) Hops() int { return n.fields.received }

func (n *Normaliser) text(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n.lineStart = false
	if n.length += len(p); n.length > n.maxLine {
		return ErrLongLine
	}
	n.fields.text(p)
	_, err := n.dst.Write(p)
	return err
}

// endLines ends a line for each pending CR.
func (n *Normaliser) endLines() error {
	for ; n.crs > 0; n.crs-- {
		if err := n.endLine(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Normaliser) endLine() error {
	n.lineStart, n.length = true, 0
	n.fields.endLine()
	_, err := n.dst.Write(crlf)
	return err
}

// fieldCounter counts the Received fields of a header.
type fieldCounter struct {
	received int
	inBody   bool
	name     []byte // the beginning of the current line
}

var receivedField = []byte("received:")

func (c *fieldCounter) text(p []byte) {
	if missing := len(receivedField) - len(c.name); !c.inBody && missing > 0 {
		c.name = append(c.name, p[:min(missing, len(p))]...)
	}
}

func (c *fieldCounter) endLine() {
	if !c.inBody && bytes.EqualFold(c.name, receivedField) {
		c.received++
	}
	c.inBody = c.inBody || len(c.name) == 0
	c.name = c.name[:0]
}
