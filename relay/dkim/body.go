package dkim

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// chunkSize is how many octets of content are read at once.
const chunkSize = 32 << 10

// hashBody returns the SHA-256 of a body in the relaxed form (RFC 6376 section 3.4.4).
func hashBody(r io.Reader) ([]byte, error) {
	b := relaxedBody{digest: sha256.New(), out: make([]byte, 0, chunkSize)}
	chunk := make([]byte, chunkSize)
	for {
		n, err := r.Read(chunk)
		b.write(chunk[:n])
		if errors.Is(err, io.EOF) {
			return b.sum(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// relaxedBody hashes a body in the relaxed form: each run of white space is one space, at
// the end of a line none, and empty lines at the end are omitted. Its memory is bounded,
// however many empty lines there are.
type relaxedBody struct {
	digest hash.Hash
	out    []byte // not hashed yet
	lines  int64  // line endings before the next text
	space  bool   // white space before the next text
	cr     bool   // a CR that may begin a line ending
	text   bool   // there was text
}

func (b *relaxedBody) write(p []byte) {
	for len(p) > 0 {
		switch {
		case b.cr && p[0] == '\n':
			b.lines, b.space, b.cr = b.lines+1, false, false
			p = p[1:]
		case b.cr: // a bare CR is text
			b.cr = false
			b.append(crlf[:1])
		case isWSP(p[0]):
			b.space = true
			p = p[1:]
		case p[0] == '\r':
			b.cr = true
			p = p[1:]
		default:
			n := 1 + runLength(p[1:])
			b.append(p[:n])
			p = p[n:]
		}
	}
}

// runLength returns the number of octets before the next white space or line ending.
func runLength(p []byte) int {
	for i, octet := range p {
		if octet <= ' ' && (octet == ' ' || octet == '\t' || octet == '\r' || octet == '\n') {
			return i
		}
	}
	return len(p)
}

// append hashes text, and what was read before it.
func (b *relaxedBody) append(text []byte) {
	for ; b.lines > 0; b.lines-- {
		b.put(crlf)
	}
	if b.space {
		b.put([]byte{' '})
	}
	b.put(text)
	b.space, b.text = false, true
}

func (b *relaxedBody) put(p []byte) {
	if len(b.out)+len(p) > cap(b.out) {
		b.digest.Write(b.out)
		b.out = b.out[:0]
	}
	b.out = append(b.out, p...)
}

// sum returns the digest at the end of the body.
func (b *relaxedBody) sum() []byte {
	if b.cr {
		b.append(crlf[:1])
	}
	if b.text {
		b.put(crlf)
	}
	b.digest.Write(b.out)
	return b.digest.Sum(nil)
}
