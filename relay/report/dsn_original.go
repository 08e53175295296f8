package report

import (
	"bytes"
	"io"
	"strings"
)

// MaxHeader is the maximum size of the original's header in a notification, in
// octets. A longer one is cut after a complete line.
const MaxHeader = 64 << 10

// maxLineLength is the maximum length of a line, in octets without its ending
// (RFC 5322 section 2.1.1).
const maxLineLength = 998

// readHeader reads the header only: up to an empty line, or the first line that
// is not a field.
func readHeader(original io.Reader) ([]byte, error) {
	read, err := io.ReadAll(io.LimitReader(original, MaxHeader))
	if err != nil {
		return nil, err
	}
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
	return header, nil
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
