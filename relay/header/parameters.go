package header

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// encodeParameters returns the value of a field with parameters in ASCII. Octets above 127
// in the value of a parameter are encoded (RFC 2231), others become question marks.
func encodeParameters(value []byte) []byte {
	var out []byte
	legacy := !utf8.Valid(value)
	for i, part := range splitParameters(value) {
		if i > 0 {
			out = append(out, ';')
		}
		out = append(out, encodeParameter(part, legacy)...)
	}
	return out
}

// splitParameters splits a value at the semicolons that are not in quoted strings.
func splitParameters(value []byte) (parts [][]byte) {
	begin := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '"':
			length := quotedStringLength(value[i:])
			if length == 0 { // it has no end
				return append(parts, value[begin:])
			}
			i += length - 1
		case ';':
			parts = append(parts, value[begin:i])
			begin = i + 1
		}
	}
	return append(parts, value[begin:])
}

// encodeParameter encodes one parameter, without its semicolon.
func encodeParameter(part []byte, legacy bool) []byte {
	if isASCII(part) {
		return part
	}
	left, right, found := bytes.Cut(part, []byte("="))
	name := strings.TrimSpace(string(left))
	if !found || name == "" || strings.ContainsAny(name, "*\"() \t\r\n/") || !isASCII(left) {
		return questionMarks(part)
	}
	raw := bytes.TrimSpace(right)
	if n := quotedStringLength(raw); len(raw) > 0 && raw[0] == '"' {
		if n != len(raw) {
			return questionMarks(part)
		}
		raw = unescaped(raw[1 : n-1])
	} else {
		raw = unfold(raw)
	}
	text := string(raw)
	if legacy {
		text = decodeWindows1252(raw)
	}
	return append(leadingSpace(left), extendedParameter(name, text)...)
}

// leadingSpace returns the white space before a parameter; there is some at least, so that
// long lines can be folded.
func leadingSpace(p []byte) []byte {
	if n := len(p) - len(bytes.TrimLeft(p, " \t\r\n")); n > 0 {
		return bytes.Clone(p[:n])
	}
	return []byte(" ")
}

// extendedParameter returns a parameter with its character set, in several parts if it is
// long (RFC 2231 sections 3 and 4).
func extendedParameter(name, text string) string {
	const most = 50
	var parts []string
	for part := range chunks(text, percentLength, most) {
		parts = append(parts, percentEncoded(part))
	}
	if len(parts) == 1 {
		return name + "*=utf-8''" + parts[0]
	}
	var b strings.Builder
	for i, part := range parts {
		if i == 0 {
			fmt.Fprintf(&b, "%s*0*=utf-8''%s", name, part)
			continue
		}
		fmt.Fprintf(&b, ";\r\n %s*%d*=%s", name, i, part)
	}
	return b.String()
}

func isAttribute(c rune) bool { return isPlain(c) || c == '.' || c == '_' }

func percentLength(c rune) int {
	if isAttribute(c) {
		return 1
	}
	return 3 * utf8.RuneLen(c)
}

func percentEncoded(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if isAttribute(rune(text[i])) {
			b.WriteByte(text[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}
