package lan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// contentSource writes a message's content as it arrives from the client.
type contentSource func(w io.Writer) error

// blocks is a pool of read buffers.
var blocks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// contentFrom returns the content that go-smtp reads. It fails with smtp.ErrDataTooLarge
// for more than limit octets.
func contentFrom(r io.Reader, limit int64) contentSource {
	return func(w io.Writer) error {
		w = &limitedWriter{w, limit}
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, block[:])
		return err
	}
}

// limitedWriter writes up to limit octets.
type limitedWriter struct {
	io.Writer
	limit int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.limit -= int64(len(p)); l.limit < 0 {
		return 0, smtp.ErrDataTooLarge
	}
	return l.Writer.Write(p)
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
	tail  []byte // of what was read
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

// bareDotTimeout is how long content may pause after a line with a single dot that
// does not end it: a client that waits for a reply at that point would get none.
const bareDotTimeout = 5 * time.Second

// errBareDot is returned if such a pause is too long.
var errBareDot = errors.New("the end of the content is not CR LF . CR LF")

// seemsEnded reports whether the content so far ends in a line with a single dot, with
// any line endings.
func (d *dotReader) seemsEnded() bool {
	line := bytes.TrimRight(d.tail, "\r\n")
	if len(line) == len(d.tail) || !bytes.HasSuffix(line, []byte(".")) {
		return false
	}
	before := line[:len(line)-1]
	return len(before) == 0 && len(d.tail) < tailLength || bytes.HasSuffix(before, []byte("\n")) || bytes.HasSuffix(before, []byte("\r"))
}

// tailLength is how much of the end of the content seemsEnded sees.
const tailLength = 8

func (d *dotReader) keepTail(part []byte) {
	d.tail = append(d.tail, part[max(0, len(part)-tailLength):]...)
	d.tail = append(d.tail[:0], d.tail[max(0, len(d.tail)-tailLength):]...)
}

// dataContent returns the content up to its end, which is always read in full;
// go-smtp then sees an empty message. It fails with smtp.ErrDataTooLarge for
// more than limit octets.
func (c *clientConn) dataContent(limit int64) contentSource {
	return func(w io.Writer) error {
		block := blocks.Get().(*[32 << 10]byte)
		defer blocks.Put(block)
		d := &dotReader{w: w, limit: limit}
		for {
			if d.seemsEnded() {
				c.idle = bareDotTimeout
			}
			part, err := c.next(block[:])
			c.idle = 0
			switch {
			case err != nil && d.seemsEnded() && errors.Is(err, os.ErrDeadlineExceeded):
				return errBareDot
			case err == io.EOF:
				return io.ErrUnexpectedEOF
			case err != nil:
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
	d.keepTail(part)
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
