package lan

import (
	"bytes"
	"io"
	"sync"

	"github.com/emersion/go-smtp"
)

// source writes a message's content as it comes from the client.
type source func(w io.Writer) error

// blocks are what content is read in.
var blocks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// passed gives content that go-smtp reads for us.
func passed(r io.Reader) source {
	return func(w io.Writer) error {
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, block[:])
		return err
	}
}

// dots takes content off a connection in clear text as DATA brings it: up to
// the line that is a dot alone, and without the dots put before others (RFC
// 5321 section 4.5.2). Only CRLF ends a line for it, so that nobody can hide a
// second message behind a bare LF.
//
// It stands in place of go-smtp's reader, which goes from octet to octet and
// never ends a content whose last line ends in CR CR LF.
type dots struct {
	w     io.Writer
	limit int64 // octets that may still come
	err   error // the first of w; what comes after it is only read
	state dotState
}

type dotState int

const (
	lineStart dotState = iota
	inLine
	afterCR    // in a line
	afterDot   // that began the line
	afterDotCR // likewise
	ended
)

// content gives what comes on the connection up to its end, whatever becomes
// of it, and then lets go-smtp see an end too. It fails with
// smtp.ErrDataTooLarge where more comes than limit.
func (c *clientConn) content(limit int64) source {
	return func(w io.Writer) error {
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		d := &dots{w: w, limit: limit}
		for {
			part, err := c.next(block[:])
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			if rest := d.take(part); d.state == ended {
				c.pending = append([]byte(".\r\n"), rest...)
				return d.err
			}
		}
	}
}

// take passes on what part holds of the content, and gives what stands behind
// its end.
func (d *dots) take(part []byte) (rest []byte) {
	begin, at := 0, 0 // what lies between them is content to be passed on
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
			d.pass(part[begin:at])
			at, d.state = at+1, afterDot
			begin = at
		case d.state == afterDot && octet == '\r':
			at, d.state = at+1, afterDotCR
			begin = at
		case d.state == afterDotCR && octet == '\n':
			at, d.state = at+1, ended
			begin = at
		case d.state == afterDotCR:
			d.pass([]byte("\r"))
			d.state = afterCR
		default:
			d.state = inLine
		}
	}
	d.pass(part[begin:at])
	return part[at:]
}

func (d *dots) pass(p []byte) {
	if len(p) == 0 || d.err != nil {
		return
	}
	if d.limit -= int64(len(p)); d.limit < 0 {
		d.err = smtp.ErrDataTooLarge
		return
	}
	_, d.err = d.w.Write(p)
}
