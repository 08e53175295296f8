package lan

import (
	"bytes"
	"io"
	"sync"

	"github.com/emersion/go-smtp"
)

// contentSource writes a message's content as it arrives from the client.
type contentSource func(w io.Writer) error

// blocks is a pool of read buffers.
var blocks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// contentFrom returns the content that go-smtp reads.
func contentFrom(r io.Reader) contentSource {
	return func(w io.Writer) error {
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, block[:])
		return err
	}
}

// dotReader reads the content of DATA up to the line with a single dot, and
// removes dot-stuffing (RFC 5321 section 4.5.2). Only CRLF ends a line, which
// prevents SMTP smuggling with a bare LF.
//
// It replaces go-smtp's reader, which works octet by octet and never ends
// content whose last line ends in CR CR LF.
type dotReader struct {
	w     io.Writer
	limit int64 // octets still allowed
	err   error // first write error; later content is discarded
	state dotState
}

type dotState int

const (
	lineStart dotState = iota
	inLine
	afterCR    // within a line
	afterDot   // at the start of a line
	afterDotCR // at the start of a line
	ended
)

// dataContent returns the content up to its end, which is always read in full;
// go-smtp then sees an empty message. It fails with smtp.ErrDataTooLarge for
// more than limit octets.
func (c *clientConn) dataContent(limit int64) contentSource {
	return func(w io.Writer) error {
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		d := &dotReader{w: w, limit: limit}
		for {
			part, err := c.next(block[:])
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			if rest := d.consume(part); d.state == ended {
				c.pending = append([]byte(".\r\n"), rest...)
				return d.err
			}
		}
	}
}

// consume writes the content in part and returns what follows its end.
func (d *dotReader) consume(part []byte) (rest []byte) {
	begin, at := 0, 0 // part[begin:at] is content not yet written
	for at < len(part) && d.state != ended {
		octet := part[at]
		switch {
		case d.state == inLine:
			length := bytes.IndexByte(part[at:], '\r') + 1
			if length == 0 {
				at = len(part)
				continue
			}
			at, d.state = at+length, afterCR
		case d.state == afterCR && octet == '\n':
			at, d.state = at+1, lineStart
		case d.state == lineStart && octet == '.':
			d.write(part[begin:at])
			at, d.state = at+1, afterDot
			begin = at
		case d.state == afterDot && octet == '\r':
			at, d.state = at+1, afterDotCR
			begin = at
		case d.state == afterDotCR && octet == '\n':
			at, d.state = at+1, ended
			begin = at
		case d.state == afterDotCR:
			d.write([]byte("\r"))
			d.state = afterCR
		default:
			d.state = inLine
		}
	}
	d.write(part[begin:at])
	return part[at:]
}

func (d *dotReader) write(p []byte) {
	if len(p) == 0 || d.err != nil {
		return
	}
	if d.limit -= int64(len(p)); d.limit < 0 {
		d.err = smtp.ErrDataTooLarge
		return
	}
	_, d.err = d.w.Write(p)
}
