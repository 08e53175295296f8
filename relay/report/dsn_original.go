package report

import (
	"bytes"
	"strings"
)

// MaxHeader is the maximum size of the original's header in a notification, in
// octets. A longer one is cut after a complete line.
const MaxHeader = 64 << 10

// MaxOriginal is the maximum size of a message that is returned in full, in octets.
// Of a larger one only the header is returned, as RFC 3461 section 4.3 allows: it
// would fill the queue, and the sender's mailbox, a second time.
const MaxOriginal = 64 << 10

// maxLineLength is the maximum length of a line, in octets without its ending
// (RFC 5322 section 2.1.1).
const maxLineLength = 998

// headerOf returns the header only: up to an empty line, or the first line that
// is not a field.
func headerOf(read []byte) []byte {
	read = read[:min(len(read), MaxHeader)]
	var header []byte
	for len(read) > 0 {
		line, rest, whole := bytes.Cut(read, []byte("\n"))
		if !whole && len(read) == MaxHeader {
			break
		}
		line, read = bytes.TrimSuffix(line, []byte("\r")), rest
		folded := len(header) > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if !folded && !isField(line) {
			break
		}
		// Some readers treat a bare CR as the end of a line.
		line = bytes.ReplaceAll(line, []byte("\r"), []byte(" "))
		if len(header)+len(line)+2 > MaxHeader {
			break
		}
		header = append(append(header, line...), "\r\n"...)
	}
	return header
}

// isField reports whether a line begins with a field name (RFC 5322 section
// 2.2); spaces before the colon are allowed (section 4.5.8).
func isField(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return found && len(name) > 0 && !strings.ContainsFunc(string(name), func(r rune) bool { return r <= ' ' || r > '~' })
}

// transferEncoding returns 7bit if the header allows it, else quoted-printable
// (RFC 6522 section 4).
func transferEncoding(header []byte, boundary string) string {
	if bytes.Contains(header, []byte(boundary)) {
		return "quoted-printable"
	}
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		foreign := bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' })
		if foreign || len(line) > maxLineLength {
			return "quoted-printable"
		}
	}
	return "7bit"
}

// isReturnable reports whether a message can be returned in full: message/rfc822 allows
// no encoding (RFC 2046 section 5.2.1).
func isReturnable(message []byte, boundary string) bool {
	text, whole := bytes.CutSuffix(message, []byte("\r\n"))
	if !whole || len(message) > MaxOriginal || bytes.Contains(message, []byte(boundary)) {
		return false
	}
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > maxLineLength || bytes.ContainsAny(line, "\r\n\x00") {
			return false
		}
	}
	return true
}

// encodingOf returns the encoding that declares the octets of a message.
func encodingOf(message []byte) string {
	for _, octet := range message {
		if octet > 127 {
			return "8bit"
		}
	}
	return "7bit"
}
