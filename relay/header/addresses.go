package header

import (
	"bytes"
)

// addressEncoder encodes the names and comments of an address list.
type addressEncoder struct {
	*wordWriter
	space   []byte     // before the next token
	phrase  []textWord // words that were not written yet
	joined  bool       // the next token follows the last word without white space
	encoded bool       // an encoded word was written last
}

// encodeAddresses returns a list of addresses (RFC 5322 section 3.4) in ASCII. Octets
// above 127 in display names and comments become encoded words, others question marks.
func encodeAddresses(value []byte, column int) []byte {
	if isASCII(value) {
		return value
	}
	e := &addressEncoder{wordWriter: newWordWriter(value, column)}
	for len(value) > 0 {
		n := e.token(value)
		value = value[n:]
	}
	e.flush()
	e.wordWriter.space(e.space)
	return e.out
}

// token reads the token that value begins with, and returns its length.
func (e *addressEncoder) token(value []byte) (length int) {
	switch c := value[0]; c {
	case ' ', '\t', '\r', '\n':
		length = len(value) - len(bytes.TrimLeft(value, " \t\r\n"))
		e.space, e.joined = append(e.space, value[:length]...), false
	case '<':
		if length = bytes.IndexByte(value, '>') + 1; length == 0 {
			length = len(value)
		}
		e.literal(questionMarks(value[:length]))
	case '(':
		if length = commentLength(value); length == 0 {
			length = len(value)
			e.literal(questionMarks(value))
			break
		}
		e.comment(value[:length])
	case '"':
		length = quotedStringLength(value)
		switch {
		case length == 0:
			length = len(value)
			e.literal(questionMarks(value))
		case length < len(value) && value[length] == '@':
			length += atomLength(value[length:])
			e.literal(questionMarks(value[:length]))
		default:
			e.word(value[:length])
		}
	case ',', ';', ':', '>', ')':
		length = 1
		e.flush()
		e.wordWriter.space(e.space)
		e.write(string(c))
		e.space, e.encoded = nil, false
	default:
		length = atomLength(value)
		if atom := value[:length]; bytes.IndexByte(atom, '@') >= 0 {
			e.literal(questionMarks(atom))
		} else {
			e.word(atom)
		}
	}
	return length
}

func atomLength(value []byte) int {
	if n := bytes.IndexAny(value, " \t\r\n<>(),;:\""); n >= 0 {
		return n
	}
	return len(value)
}

// quotedStringLength returns the length of the quoted string that value begins with, or 0
// if it has no end.
func quotedStringLength(value []byte) int {
	for i := 1; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// commentLength returns the length of the comment that value begins with, or 0 if it has
// no end.
func commentLength(value []byte) int {
	depth := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// unescaped returns the content of a quoted string or comment without its backslashes and
// line ends.
func unescaped(p []byte) []byte {
	var out []byte
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+1 < len(p) {
			i++
		}
		if p[i] != '\r' && p[i] != '\n' {
			out = append(out, p[i])
		}
	}
	return out
}

// word adds a word to the phrase. A word that follows another without white space is part
// of it.
func (e *addressEncoder) word(raw []byte) {
	last := len(e.phrase) - 1
	if e.joined && last >= 0 {
		e.phrase[last].text = append(e.phrase[last].text, raw...)
		return
	}
	e.phrase = append(e.phrase, textWord{space: e.space, text: bytes.Clone(raw)})
	e.space, e.joined = nil, true
}

// unquoted returns a word of atoms and quoted strings as text.
func unquoted(raw []byte) (text []byte) {
	for len(raw) > 0 {
		if raw[0] == '"' {
			n := quotedStringLength(raw)
			text = append(text, unescaped(raw[1:n-1])...)
			raw = raw[n:]
			continue
		}
		n := atomLength(raw)
		text = append(text, raw[:n]...)
		raw = raw[n:]
	}
	return text
}

// flush writes the phrase.
func (e *addressEncoder) flush() {
	if len(e.phrase) == 0 {
		e.joined = false
		return
	}
	for i, word := range e.phrase {
		if !isASCII(word.text) {
			e.phrase[i].text, e.phrase[i].encode = unquoted(word.text), true
		}
	}
	e.separate(e.phrase[0].space, e.phrase[0].encode)
	e.words(e.phrase)
	e.encoded = e.phrase[len(e.phrase)-1].encode
	e.phrase, e.joined = nil, false
}

// separate writes the white space that an encoded word needs around it, if there is none
// (RFC 2047 section 5).
func (e *addressEncoder) separate(space []byte, encode bool) {
	if n := len(e.out); len(space) == 0 && n > 0 && (e.encoded || encode) && !bytes.HasSuffix(e.out, []byte(" ")) {
		e.wordWriter.space([]byte(" "))
	}
}

// literal writes a token that is not encoded.
func (e *addressEncoder) literal(token []byte) {
	e.flush()
	e.separate(e.space, false)
	e.wordWriter.space(e.space)
	e.write(string(token))
	e.space, e.encoded = nil, false
}

// comment writes a comment.
func (e *addressEncoder) comment(raw []byte) {
	if isASCII(raw) {
		e.literal(raw)
		return
	}
	e.flush()
	e.separate(e.space, true)
	e.wordWriter.space(e.space)
	e.write("(")
	e.wordWriter.encoded(unescaped(raw[1 : len(raw)-1]))
	e.write(")")
	e.space, e.encoded = nil, true
}
