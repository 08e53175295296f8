package mime

import "encoding/base64"

// encoder encodes a body line by line and appends it to out. Lines of what it writes are
// separated by CRLF.
type encoder interface {
	write(out, text []byte) []byte // of one line, without its CRLF
	endLine(out []byte) []byte
	finish(out []byte) []byte
}

// newEncoder returns the encoder for a treatment and the value of
// Content-Transfer-Encoding, or "" if that stays. The encoder is nil if the body stays.
func newEncoder(t treatment, sevenBit bool) (encoder, string) {
	switch t {
	case toQuoted:
		return &quotedEncoder{}, "quoted-printable"
	case toBase64:
		return &base64Encoder{}, "base64"
	case rewrapBase64:
		return &base64Wrapper{}, ""
	case rebreakQuoted:
		return &quotedBreaker{sevenBit: sevenBit}, ""
	}
	return nil, ""
}

// maxEncoded is the number of octets of the longest encoded line (RFC 2045 sections 6.7
// and 6.8).
const maxEncoded = 76

const hexDigits = "0123456789ABCDEF"

// quotedLine is the end of a quoted-printable text.
type quotedLine struct{ column int }

// put appends what stands for one octet. A hyphen at the beginning of a line is escaped,
// so that a line that was broken cannot become a delimiter of a multipart.
func (l *quotedLine) put(out []byte, octet byte, escape bool) []byte {
	length := 1
	if escape {
		length = 3
	}
	out = l.room(out, length)
	if escape || l.column == 0 && octet == '-' {
		l.column += 3
		return append(out, '=', hexDigits[octet>>4], hexDigits[octet&15])
	}
	l.column++
	return append(out, octet)
}

// room breaks the line if not so many octets fit on it.
func (l *quotedLine) room(out []byte, length int) []byte {
	if l.column+length > maxEncoded-len("=") {
		l.column = 0
		return append(out, "=\r\n"...)
	}
	return out
}

// endLine appends a line ending.
func (l *quotedLine) endLine(out []byte) []byte {
	l.column = 0
	return append(out, "\r\n"...)
}

// quotedEncoder encodes in quoted-printable (RFC 2045 section 6.7).
type quotedEncoder struct {
	quotedLine
	space byte // white space that is not written yet: it is escaped at the end of a line
}

func (e *quotedEncoder) write(out, text []byte) []byte {
	for _, octet := range text {
		out = e.flush(out, false)
		if octet == ' ' || octet == '\t' {
			e.space = octet
			continue
		}
		out = e.put(out, octet, octet == '=' || octet < ' ' || octet > '~')
	}
	return out
}

func (e *quotedEncoder) flush(out []byte, escape bool) []byte {
	if e.space != 0 {
		out = e.put(out, e.space, escape)
		e.space = 0
	}
	return out
}

func (e *quotedEncoder) endLine(out []byte) []byte { return e.quotedLine.endLine(e.flush(out, true)) }

func (e *quotedEncoder) finish(out []byte) []byte { return e.flush(out, true) }

// quotedBreaker breaks the lines of quoted-printable text.
type quotedBreaker struct {
	quotedLine
	sevenBit bool
	escape   []byte // "=" and what follows it, up to two octets
	spaces   []byte // white space that is not written yet: at the end of a line it means nothing
}

func (b *quotedBreaker) write(out, text []byte) []byte {
	for _, octet := range text {
		switch {
		case len(b.escape) > 0:
			if b.escape = append(b.escape, octet); len(b.escape) == 3 {
				out = b.flushEscape(out)
			}
		case octet == '=':
			out = b.flushSpaces(out)
			b.escape = append(b.escape, octet)
		case octet == ' ' || octet == '\t':
			if b.spaces = append(b.spaces, octet); len(b.spaces) > maxLine {
				out = b.flushSpaces(out)
			}
		default:
			out = b.put(b.flushSpaces(out), octet, b.sevenBit && octet > 127)
		}
	}
	return out
}

func (b *quotedBreaker) flushSpaces(out []byte) []byte {
	for _, octet := range b.spaces {
		out = b.put(out, octet, false)
	}
	b.spaces = b.spaces[:0]
	return out
}

func (b *quotedBreaker) flushEscape(out []byte) []byte {
	out = b.room(out, len(b.escape))
	for _, octet := range b.escape {
		if b.sevenBit && octet > 127 {
			octet = '?'
		}
		out = append(out, octet)
	}
	b.column += len(b.escape)
	b.escape = b.escape[:0]
	return out
}

func (b *quotedBreaker) endLine(out []byte) []byte {
	out = b.finish(out)
	return b.quotedLine.endLine(out)
}

func (b *quotedBreaker) finish(out []byte) []byte {
	b.spaces = b.spaces[:0]
	if len(b.escape) == 0 {
		return out
	}
	if len(b.escape) == 1 { // a soft line break, for which there is always room
		b.escape = b.escape[:0]
		return append(out, '=')
	}
	return b.flushEscape(out)
}

// base64Encoder encodes in base64 (RFC 2045 section 6.8).
type base64Encoder struct {
	base64Lines
	block []byte
}

func (e *base64Encoder) write(out, text []byte) []byte {
	const size = maxEncoded / 4 * 3
	for len(text) > 0 {
		n := min(size-len(e.block), len(text))
		e.block = append(e.block, text[:n]...)
		if text = text[n:]; len(e.block) == size {
			out = e.finish(out)
		}
	}
	return out
}

func (e *base64Encoder) endLine(out []byte) []byte { return e.write(out, []byte("\r\n")) }

func (e *base64Encoder) finish(out []byte) []byte {
	if len(e.block) == 0 {
		return out
	}
	out = base64.StdEncoding.AppendEncode(e.separate(out), e.block)
	e.block = e.block[:0]
	return out
}

// base64Lines separates lines.
type base64Lines struct{ begun bool }

func (l *base64Lines) separate(out []byte) []byte {
	if l.begun {
		return append(out, "\r\n"...)
	}
	l.begun = true
	return out
}

// base64Wrapper breaks the lines of base64 text, and leaves out what is no part of it
// (RFC 2045 section 6.8).
type base64Wrapper struct {
	base64Lines
	column int
}

func (w *base64Wrapper) write(out, text []byte) []byte {
	for _, octet := range text {
		if !isBase64(octet) {
			continue
		}
		if w.column == 0 {
			out = w.separate(out)
		}
		out = append(out, octet)
		w.column = (w.column + 1) % maxEncoded
	}
	return out
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

func (w *base64Wrapper) endLine(out []byte) []byte { return out }

func (w *base64Wrapper) finish(out []byte) []byte { return out }
