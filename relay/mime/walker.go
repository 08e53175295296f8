package mime

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// handler receives the pieces of a message in order. Each slice is valid during the call.
type handler interface {
	// header has the header of an entity, with the empty line if there is one.
	header(e entity, raw []byte)
	// outside has text of a multipart that belongs to no part: preamble, delimiters and
	// epilogue.
	outside(piece []byte)
	// leaf has a part of the body of the entity that header named last.
	leaf(piece []byte)
	// endLeaf ends it: at a delimiter, to which the CRLF before it belongs, or at the end
	// of the message.
	endLeaf(atEnd bool)
}

// walker reads a message line by line and passes its pieces to a handler. Its memory is
// bounded, whatever it reads.
type walker struct {
	r         *bufio.Reader
	handler   handler
	state     state
	lineStart bool
	held      []byte          // the header so far
	top       bool            // the header is the message's
	outer     []openMultipart // around the current entity, the outermost first
	depth     int
	parts     int
	ended     bool
}

type state int

const (
	inHeader state = iota
	inLeaf
	outsideParts
)

// openMultipart is a multipart that has not ended.
type openMultipart struct {
	delimiter []byte // "--" and the boundary
	digest    bool
	depth     int
}

// pieceSize is how much of a line is read at once.
const pieceSize = 32 << 10

func newWalker(r io.Reader, h handler) *walker {
	return &walker{r: bufio.NewReaderSize(r, pieceSize), handler: h, top: true, lineStart: true}
}

// step reads one line, or a part of a long one. It returns io.EOF at the end.
func (w *walker) step() error {
	piece, err := w.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
		if n := len(piece); piece[n-1] == '\r' { // may be half of a CRLF
			err = w.r.UnreadByte()
			piece = piece[:n-1]
		}
	}
	if len(piece) > 0 {
		w.piece(piece)
	}
	if errors.Is(err, io.EOF) && !w.ended {
		w.ended = true
		w.endEntity(true)
	}
	return err
}

func (w *walker) piece(piece []byte) {
	first := w.lineStart
	w.lineStart = piece[len(piece)-1] == '\n'
	if i, closing := w.delimiter(piece); first && i >= 0 {
		w.endEntity(false)
		w.handler.outside(piece)
		w.depth = w.outer[i].depth
		w.state, w.outer = inHeader, w.outer[:i+1]
		if closing {
			w.state, w.outer = outsideParts, w.outer[:i]
		}
		return
	}
	switch w.state {
	case inLeaf:
		w.handler.leaf(piece)
	case outsideParts:
		w.handler.outside(piece)
	case inHeader:
		w.held = append(w.held, piece...)
		if first && string(piece) == "\r\n" {
			w.endHeader()
		} else if len(w.held) > maxHeader {
			w.handler.header(entity{opaque: true}, w.held)
			w.state, w.held, w.top = inLeaf, w.held[:0], false
		}
	}
}

// delimiter returns which multipart a line delimits, or -1, and whether it closes it. An
// outer one comes first (RFC 2046 section 5.1.2).
func (w *walker) delimiter(line []byte) (i int, closing bool) {
	if len(w.outer) == 0 || !bytes.HasPrefix(line, []byte("--")) {
		return -1, false
	}
	for i, m := range w.outer {
		rest, found := bytes.CutPrefix(line, m.delimiter)
		if !found {
			continue
		}
		if len(bytes.TrimRight(rest, " \t\r\n")) == 0 {
			return i, false
		}
		if rest, closing = bytes.CutPrefix(rest, []byte("--")); closing && len(bytes.TrimRight(rest, " \t\r\n")) == 0 {
			return i, true
		}
	}
	return -1, false
}

// endEntity ends the current entity.
func (w *walker) endEntity(atEnd bool) {
	switch w.state {
	case inLeaf:
		w.handler.endLeaf(atEnd)
	case inHeader: // it has no body
		w.handler.header(entity{opaque: true}, w.held)
		w.handler.endLeaf(atEnd)
	}
	w.held, w.top = w.held[:0], false
}

// endHeader decides by a header what its body is.
func (w *walker) endHeader() {
	digest := len(w.outer) > 0 && w.outer[len(w.outer)-1].digest
	e := parseEntity(w.held, digest)
	e.top = w.top
	w.parts++
	composite := e.isIdentity() && w.depth < maxDepth && w.parts <= maxParts
	switch {
	case composite && e.isMultipart() && !e.opaque:
		e.composite = true
		w.depth++
		w.outer = append(w.outer, openMultipart{[]byte("--" + e.boundary), e.mediaType == "multipart/digest", w.depth})
		w.state = outsideParts
	case composite && e.mediaType == "message/rfc822":
		e.composite = true
		w.depth++
	default:
		e.opaque = e.opaque || e.isMultipart() || e.isMessage() && e.isIdentity() || w.parts > maxParts
		w.state = inLeaf
	}
	w.handler.header(e, w.held)
	w.held, w.top = w.held[:0], false
}
