package mime

import (
	"bytes"
	"io"
	"strings"

	"sealpost/relay/header"
)

// reader rewrites a message by its plan.
type reader struct {
	*walker
	plan    *plan
	next    int // index into plan.parts
	out     []byte
	read    int // octets of out that were read
	err     error
	column  int     // of text outside of parts
	encoder encoder // of the current body; nil if it stays as it is
	crlf    bool    // a CRLF of the body was read that may belong to a delimiter
}

func newReader(source io.Reader, p *plan) *reader {
	r := &reader{plan: p}
	r.walker = newWalker(source, r)
	return r
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for r.read == len(r.out) {
		if r.err != nil {
			return 0, r.err
		}
		r.out, r.read = r.out[:0], 0
		for r.err == nil && len(r.out) < pieceSize {
			r.err = r.step()
		}
	}
	n := copy(p, r.out[r.read:])
	r.read += n
	return n, nil
}

func (r *reader) header(e entity, raw []byte) {
	encoding := ""
	if !e.composite {
		t := keep
		if r.next < len(r.plan.parts) {
			t = r.plan.parts[r.next]
		}
		r.next++
		r.encoder, encoding = newEncoder(t, r.plan.sevenBit)
		r.crlf = false
	} else if r.plan.sevenBit && r.plan.whole && (e.encoding == "8bit" || e.encoding == "binary") {
		encoding = "7bit"
	}
	r.column = 0
	for field := range fields(raw) {
		switch {
		case len(field) == len("\r\n") && string(field) == "\r\n":
			r.addFields(e, encoding)
			r.out = append(r.out, field...)
		case encoding != "" && isNamed(field, "content-transfer-encoding"):
		default:
			var f facts
			for line := range bytes.Lines(field) {
				f.add(line)
			}
			if f.needChange(r.plan.sevenBit) && !e.isFixed() {
				field = header.EncodeField(field)
			}
			r.out = append(r.out, field...)
		}
	}
}

// addFields adds what a header must say about a changed body.
func (r *reader) addFields(e entity, encoding string) {
	if encoding == "" {
		return
	}
	if e.top && !e.versioned {
		r.out = append(r.out, "MIME-Version: 1.0\r\n"...)
	}
	if e.top && !e.typed {
		r.out = append(r.out, "Content-Type: text/plain; charset="+r.plan.charset+"\r\n"...)
	}
	r.out = append(r.out, "Content-Transfer-Encoding: "+encoding+"\r\n"...)
}

func isNamed(field []byte, name string) bool {
	before, _, found := bytes.Cut(field, []byte(":"))
	return found && strings.EqualFold(string(bytes.TrimRight(before, " \t")), name)
}

// outside implements handler. A line that is broken goes on after a space, so that it
// cannot become a delimiter.
func (r *reader) outside(piece []byte) {
	line, ends := bytes.CutSuffix(piece, []byte("\r\n"))
	from := len(r.out)
	for r.column+len(line) > maxLine {
		n := maxLine - r.column
		r.out = append(append(r.out, line[:n]...), "\r\n "...)
		line, r.column = line[n:], 1
	}
	r.out = append(r.out, line...)
	r.column += len(line)
	if r.plan.sevenBit {
		for i, octet := range r.out[from:] {
			if octet > 127 {
				r.out[from+i] = '?'
			}
		}
	}
	if ends {
		r.out, r.column = append(r.out, "\r\n"...), 0
	}
}

func (r *reader) leaf(piece []byte) {
	if r.encoder == nil {
		r.out = append(r.out, piece...)
		return
	}
	if r.crlf {
		r.out = r.encoder.endLine(r.out)
	}
	piece, r.crlf = bytes.CutSuffix(piece, []byte("\r\n"))
	r.out = r.encoder.write(r.out, piece)
}

func (r *reader) endLeaf(atEnd bool) {
	if r.encoder == nil {
		return
	}
	if r.crlf && atEnd {
		r.out = r.encoder.endLine(r.out)
	}
	r.out = r.encoder.finish(r.out)
	if r.crlf && !(atEnd && bytes.HasSuffix(r.out, []byte("\r\n"))) {
		r.out = append(r.out, "\r\n"...)
	}
	r.encoder = nil
}
