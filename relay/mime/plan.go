package mime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"sealpost/relay/header"
)

// plan is what is to be done with a message.
type plan struct {
	sevenBit bool
	parts    []treatment // of each entity but composite ones, in order
	charset  string      // of a message without Content-Type
	text     bool        // headers or text outside of parts must be changed
	whole    bool        // sevenBit is reached by every part
}

// treatment is what is done with the body of an entity.
type treatment uint8

const (
	keep          treatment = iota
	toQuoted                // encode in quoted-printable
	toBase64                // encode in base64
	rewrapBase64            // is base64, needs shorter lines
	rebreakQuoted           // is quoted-printable, needs shorter lines
)

func (p *plan) needed() bool {
	return p.text || slices.ContainsFunc(p.parts, func(t treatment) bool { return t != keep })
}

// analyse reads a message and makes the plan, or returns nil if it cannot be read.
func analyse(content Content, sevenBit bool) *plan {
	a := &analysis{plan: plan{sevenBit: sevenBit, charset: "us-ascii", whole: true}}
	w := newWalker(header.Inspect(content), a)
	for {
		if err := w.step(); errors.Is(err, io.EOF) {
			return &a.plan
		} else if err != nil {
			return nil
		}
	}
}

// analysis collects the facts about a message.
type analysis struct {
	plan
	entity entity
	facts
	invalid bool   // the text is not UTF-8
	rune    []byte // the beginning of a character that continues in the next piece
}

// facts are facts of text.
type facts struct {
	length   int // of the current line
	long     bool
	eightBit bool
}

// add adds a piece of text.
func (f *facts) add(piece []byte) {
	f.length += len(bytes.TrimSuffix(piece, []byte("\r\n")))
	f.long = f.long || f.length > maxLine
	if piece[len(piece)-1] == '\n' {
		f.length = 0
	}
	f.eightBit = f.eightBit || hasEightBit(piece)
}

// needChange reports whether text with these facts must be changed.
func (f facts) needChange(sevenBit bool) bool { return f.long || sevenBit && f.eightBit }

func (a *analysis) header(e entity, raw []byte) {
	var f facts
	for line := range bytes.Lines(raw) {
		f.add(line)
	}
	a.text = a.text || f.needChange(a.sevenBit)
	a.whole = a.whole && !(f.eightBit && e.isFixed())
	a.entity, a.facts, a.invalid, a.rune = e, facts{}, false, nil
}

func (a *analysis) outside(piece []byte) {
	a.add(piece)
	a.text = a.text || a.needChange(a.sevenBit)
}

func (a *analysis) leaf(piece []byte) {
	a.add(piece)
	if a.entity.top && !a.entity.typed && a.eightBit {
		a.checkUTF8(piece)
	}
}

// checkUTF8 notes whether text is valid UTF-8. Pieces end anywhere.
func (a *analysis) checkUTF8(piece []byte) {
	text := append(a.rune, piece...)
	end := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if utf8.RuneStart(text[len(text)-n]) {
			if !utf8.FullRune(text[len(text)-n:]) {
				end -= n
			}
			break
		}
	}
	a.invalid = a.invalid || !utf8.Valid(text[:end])
	a.rune = bytes.Clone(text[end:])
}

func (a *analysis) endLeaf(bool) {
	t := keep
	if len(a.parts) < maxParts {
		t = a.treatment()
		a.parts = append(a.parts, t)
	}
	a.whole = a.whole && (t != keep || !a.eightBit)
	if a.entity.top && a.eightBit {
		a.charset = "utf-8"
		if a.invalid || len(a.rune) > 0 {
			a.charset = "unknown-8bit" // RFC 1428 section 3
		}
	}
	a.facts = facts{}
}

func (a *analysis) treatment() treatment {
	switch {
	case a.entity.opaque || !a.needChange(a.sevenBit):
		return keep
	case a.entity.encoding == "base64":
		return rewrapBase64
	case a.entity.encoding == "quoted-printable":
		return rebreakQuoted
	case !a.entity.isIdentity():
		return keep
	case a.entity.isText():
		return toQuoted
	}
	return toBase64
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
