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
// device that writes CR CR LF has converted its line endings twice. NUL octets are
// removed, because no content but a binary one may have them (RFC 2045 section 2).
type Normaliser struct {
	dst       io.Writer
	maxLine   int    // octets of a line in the header, without its ending
	longest   int    // octets of the longest line
	length    int    // octets of the current line so far
	crs       int    // CRs pending until the next octet is known
	fixed     []byte // corrected lines that are not written yet
	lineStart bool
	eightBit  bool
	nul       bool
	fields    fieldCounter
}

// ErrLongLine is returned for a line over the limit.
var ErrLongLine = errors.New("a line of the header is too long")

// longLine is the number of octets of the longest line that every server accepts, without
// its ending (RFC 5321 section 4.5.3.1.6).
const longLine = 998

// NewNormaliser returns a normaliser that writes to dst and accepts lines of at
// most maxLine octets in the header, without the line ending.
func NewNormaliser(dst io.Writer, maxLine int) *Normaliser {
	return &Normaliser{dst: dst, maxLine: maxLine, lineStart: true}
}

var crlf = []byte("\r\n")

// fixedSize is how many octets of corrected lines are written together.
const fixedSize = 4096

// Write takes the next part of the content, split anywhere.
func (n *Normaliser) Write(p []byte) (int, error) {
	n.eightBit = n.eightBit || hasEightBit(p)
	total := len(p)
	if bytes.IndexByte(p, 0) >= 0 {
		n.nul = true
		p = bytes.ReplaceAll(p, []byte{0}, nil)
	}
	for len(p) > 0 {
		if fine := n.wholeLines(p); fine > 0 {
			if _, err := n.dst.Write(p[:fine]); err != nil {
				return 0, err
			}
			p = p[fine:]
			continue
		}
		rest, err := n.fixLines(p)
		if err == nil {
			err = n.flush()
		}
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
		if end < 0 || !bytes.HasPrefix(p[fine+end:], crlf) {
			return fine
		}
		if end > longLine && n.tooLong(p[fine:], end) {
			return fine
		}
		n.fields.text(p[fine : fine+end])
		n.fields.endLine()
		fine += end + len(crlf)
	}
}

// tooLong notes the length of a line so far, which begins with start, and reports whether
// it is over the limit.
func (n *Normaliser) tooLong(start []byte, length int) bool {
	n.longest = max(n.longest, length)
	return length > n.maxLine && n.fields.inHeader(start)
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

// fixLines corrects the lines that p begins with, octet by octet, and returns the rest.
// It ends at the end of a line where wholeLines may be faster again.
func (n *Normaliser) fixLines(p []byte) (rest []byte, err error) {
	const atLeast = 64
	if n.crs == 0 {
		if p, err = n.beginning(p); err != nil {
			return nil, err
		}
	}
	for i, octet := range p {
		if octet != '\r' && octet != '\n' {
			if err := n.endLines(); err != nil {
				return nil, err
			}
		}
		switch octet {
		case '\r':
			n.crs++
			continue
		case '\n':
			n.crs = 1
			err = n.endLines()
		default:
			err = n.octet(octet)
		}
		if err != nil {
			return nil, err
		}
		if n.lineStart && i >= atLeast {
			return p[i+1:], nil
		}
	}
	return nil, nil
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
	if n.crs == 0 && !n.lineStart {
		n.crs = 1
	}
	if err := n.endLines(); err != nil {
		return err
	}
	return n.flush()
}

// EightBit reports whether the content has octets above 127.
func (n *Normaliser) EightBit() bool { return n.eightBit }

// LongLines reports whether the content has lines of more than 998 octets.
func (n *Normaliser) LongLines() bool { return n.longest > longLine }

// NULs reports whether the content had NUL octets.
func (n *Normaliser) NULs() bool { return n.nul }

// Hops returns the number of Received fields in the header, for loop detection
// (RFC 5321 section 6.3).
func (n *Normaliser) Hops() int { return n.fields.received }

// beginning writes p up to its first line ending, and returns the rest.
func (n *Normaliser) beginning(p []byte) (rest []byte, err error) {
	end := lineEnd(p)
	if end < 0 {
		end = len(p)
	}
	if end == 0 {
		return p, nil
	}
	n.lineStart = false
	n.fields.text(p[:end])
	if n.length += end; n.length > longLine && n.tooLong(nil, n.length) {
		return nil, ErrLongLine
	}
	_, err = n.dst.Write(p[:end])
	return p[end:], err
}

func (n *Normaliser) octet(octet byte) error {
	n.lineStart = false
	n.fields.octet(octet)
	if n.length++; n.length > longLine && n.tooLong(nil, n.length) {
		return ErrLongLine
	}
	if n.fixed = append(n.fixed, octet); len(n.fixed) < fixedSize {
		return nil
	}
	return n.flush()
}

// endLines ends a line for each pending CR.
func (n *Normaliser) endLines() error {
	for ; n.crs > 0; n.crs-- {
		n.lineStart, n.length = true, 0
		n.fields.endLine()
		if n.fixed = append(n.fixed, crlf...); len(n.fixed) >= fixedSize {
			if err := n.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the corrected lines.
func (n *Normaliser) flush() error {
	if len(n.fixed) == 0 {
		return nil
	}
	_, err := n.dst.Write(n.fixed)
	n.fixed = n.fixed[:0]
	return err
}
