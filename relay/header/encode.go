package header

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// addressFields hold addresses; octets above 127 may be in their names and comments.
var addressFields = map[string]bool{"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"resent-from": true, "resent-sender": true, "resent-to": true, "resent-cc": true, "resent-bcc": true, "resent-reply-to": true,
	"disposition-notification-to": true, "return-receipt-to": true, "errors-to": true}

// parameterFields have parameters (RFC 2045 section 5.1, RFC 2183).
var parameterFields = map[string]bool{"content-type": true, "content-disposition": true}

// structuredFields have a syntax in which encoded words have no place (RFC 2047 section 5).
var structuredFields = map[string]bool{"received": true, "return-path": true, "date": true, "message-id": true, "in-reply-to": true,
	"references": true, "mime-version": true, "content-transfer-encoding": true, "content-id": true, "content-location": true,
	"content-language": true, "resent-date": true, "resent-message-id": true, "dkim-signature": true, "authentication-results": true,
	"arc-seal": true, "arc-message-signature": true, "arc-authentication-results": true, "auto-submitted": true,
	"delivered-to": true, "importance": true, "priority": true, "x-priority": true, "sensitivity": true}

// encode makes every field ASCII and folds long lines.
func (h *repair) encode() {
	for i := range h.fields {
		f := &h.fields[i]
		value, changed := encodeValue(f.lower, f.value)
		if changed {
			f.value, f.changed = value, true
			h.note(HeaderEncoded)
		}
		if value, changed = fold(len(f.title)+1, f.value, isUnstructured(f.lower)); changed {
			f.value, f.changed = value, true
			h.note(LineFolded)
		}
	}
}

// EncodeField returns a field, with its name and its last CRLF, in ASCII and in lines of
// at most 998 octets. What is neither a field nor of any use in ASCII is returned as it
// is.
func EncodeField(field []byte) []byte {
	length := nameLength(field)
	if length == 0 {
		return field
	}
	colon := bytes.IndexByte(field, ':') + 1
	name := strings.ToLower(string(field[:length]))
	value, encoded := encodeValue(name, bytes.TrimSuffix(field[colon:], []byte("\r\n")))
	value, folded := fold(colon, value, isUnstructured(name))
	if !encoded && !folded {
		return field
	}
	return append(append(bytes.Clone(field[:colon]), value...), "\r\n"...)
}

func isUnstructured(name string) bool {
	return !addressFields[name] && !parameterFields[name] && !structuredFields[name]
}

// encodeValue returns a field's value in ASCII (RFC 2047, RFC 2231).
func encodeValue(name string, value []byte) (encoded []byte, changed bool) {
	if isASCII(value) {
		return value, false
	}
	switch {
	case addressFields[name]:
		return encodeAddresses(value, len(name)+1), true
	case parameterFields[name]:
		return encodeParameters(value), true
	case structuredFields[name]:
		return questionMarks(value), true
	}
	w := newWordWriter(value, len(name)+1)
	w.words(words(value))
	return w.out, true
}

func isASCII(p []byte) bool {
	return !bytes.ContainsFunc(p, func(c rune) bool { return c >= utf8.RuneSelf })
}

// questionMarks replaces octets above 127.
func questionMarks(p []byte) []byte {
	out := bytes.Clone(p)
	for i, octet := range out {
		if octet >= utf8.RuneSelf {
			out[i] = '?'
		}
	}
	return out
}

// windows1252 are the characters of the octets from 0x80 to 0x9f, where the set differs
// from Latin-1; five are not defined.
var windows1252 = [32]rune{'€', 0x81, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 0x8d, 'Ž', 0x8f,
	0x90, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', 0x9d, 'ž', 'Ÿ'}

// decodeWindows1252 returns octets that are not UTF-8 as text. The set contains the Latin-1
// of most devices.
func decodeWindows1252(p []byte) string {
	var b strings.Builder
	for _, octet := range p {
		if octet >= 0x80 && octet <= 0x9f {
			b.WriteRune(windows1252[octet-0x80])
			continue
		}
		b.WriteRune(rune(octet))
	}
	return b.String()
}

// wordWriter writes text with encoded words, folded to lines of 76 octets (RFC 2047
// section 2).
type wordWriter struct {
	out    []byte
	column int
	blank  bool // nothing but white space is on the line so far
	legacy bool // octets above 127 are windows-1252, whatever one word looks like
}

// newWordWriter returns a writer for a value that begins at a column.
func newWordWriter(value []byte, column int) *wordWriter {
	return &wordWriter{column: column, legacy: !utf8.Valid(value)}
}

const maxEncodedLine = 76

// textWord is a word of text with the white space before it.
type textWord struct {
	space, text []byte
	encode      bool
}

// words splits text at white space. The last word may be empty.
func words(value []byte) (all []textWord) {
	for len(value) > 0 {
		n := len(value) - len(bytes.TrimLeft(value, " \t\r\n"))
		end := bytes.IndexAny(value[n:], " \t\r\n")
		if end < 0 {
			end = len(value) - n
		}
		text := value[n : n+end]
		all = append(all, textWord{space: value[:n], text: text, encode: !isASCII(text) || mayBeMistaken(text)})
		value = value[n+end:]
	}
	return all
}

// words writes words: adjacent ones that must be encoded are encoded together, the
// others stay as they are.
func (w *wordWriter) words(all []textWord) {
	for i := 0; i < len(all); {
		if !all[i].encode {
			w.space(all[i].space)
			w.write(string(all[i].text))
			i++
			continue
		}
		end := i + 1
		for end < len(all) && all[end].encode {
			end++
		}
		var run []byte
		for j, word := range all[i:end] {
			if j > 0 {
				run = append(run, unfold(word.space)...)
			}
			run = append(run, word.text...)
		}
		// White space between two encoded words is not shown, so it is encoded with them.
		if i > 0 && isEncodedWord(all[i-1].text) {
			run = append(unfold(all[i].space), run...)
		}
		if end < len(all) && isEncodedWord(all[end].text) {
			run = append(run, unfold(all[end].space)...)
		}
		w.space(all[i].space)
		w.encoded(run)
		i = end
	}
}

// unfold returns white space without its line ends.
func unfold(space []byte) []byte { return bytes.ReplaceAll(space, []byte("\r\n"), nil) }

var encodedWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=$`) })

func isEncodedWord(word []byte) bool { return encodedWord().Match(word) }

// mayBeMistaken reports whether a word could be read as the beginning of an encoded word
// that ends in one of ours.
func mayBeMistaken(word []byte) bool {
	return bytes.Contains(word, []byte("=?")) && !isEncodedWord(word)
}

func (w *wordWriter) write(text string) {
	w.out = append(w.out, text...)
	w.column += len(text)
	w.blank = w.blank && text == ""
}

func (w *wordWriter) space(space []byte) {
	w.out = append(w.out, space...)
	w.column += len(space)
	if at := bytes.LastIndexByte(space, '\n'); at >= 0 {
		w.column, w.blank = len(space)-at-1, true
	}
}

// encoded writes text as encoded words.
func (w *wordWriter) encoded(octets []byte) {
	text := string(octets)
	if w.legacy {
		text = decodeWindows1252(octets)
	}
	for i, word := range encodedWords(text) {
		if n := len(w.out); i > 0 {
			w.space([]byte("\r\n "))
		} else if n > 0 && w.column+len(word) > maxEncodedLine && !w.blank && (w.out[n-1] == ' ' || w.out[n-1] == '\t') {
			w.out = append(w.out[:n-1], "\r\n"+string(w.out[n-1])...)
			w.column = 1
		}
		w.write(word)
	}
}

// encodedWords returns text as encoded words of at most 75 octets, in the shorter of the
// two encodings (RFC 2047 section 4).
func encodedWords(text string) (all []string) {
	const most = 75 - len("=?utf-8?q?") - len("?=")
	special := len(text) - len(strings.Map(func(c rune) rune {
		if isPlain(c) || c == ' ' {
			return c
		}
		return -1
	}, text))
	if 3*special > len(text) {
		for part := range chunks(text, func(c rune) int { return utf8.RuneLen(c) }, most/4*3) {
			all = append(all, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(part))+"?=")
		}
		return all
	}
	for part := range chunks(text, quotedLength, most) {
		var b strings.Builder
		for i := range len(part) {
			switch c := rune(part[i]); {
			case isPlain(c):
				b.WriteByte(part[i])
			case c == ' ':
				b.WriteByte('_')
			default:
				fmt.Fprintf(&b, "=%02X", part[i])
			}
		}
		all = append(all, "=?utf-8?q?"+b.String()+"?=")
	}
	return all
}

// isPlain reports whether a character stands for itself in Q encoding at any place (RFC
// 2047 section 5).
func isPlain(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

func quotedLength(c rune) int {
	if isPlain(c) || c == ' ' {
		return 1
	}
	return 3 * utf8.RuneLen(c)
}

// chunks returns parts of text of at most most octets by length, split between
// characters.
func chunks(text string, length func(rune) int, most int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, size := 0, 0
		for i, c := range text {
			if n := length(c); size+n > most {
				if !yield(text[begin:i]) {
					return
				}
				begin, size = i, n
			} else {
				size += n
			}
		}
		if begin < len(text) {
			yield(text[begin:])
		}
	}
}
