package report

import (
	"bytes"
	"io"
	"strings"
)

// MaxHeader is how much of the original's header section a notification
// carries, in octets. Longer ones are cut after a whole line.
const MaxHeader = 64 << 10

// longestLine is the most a line may have, in octets without its ending
// (RFC 5322 section 2.1.1).
const longestLine = 998

// readHeader reads the header section and nothing behind it: it ends with an
// empty line, or with the first line that cannot be of a field.
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
		// A CR by itself would end a line for some readers.
		line = bytes.ReplaceAll(line, []byte("\r"), []byte(" "))
		if len(header)+len(line)+2 > MaxHeader {
			break
		}
		header = append(append(header, line...), "\r\n"...)
	}
	return header, nil
}

// isField tells whether a line begins with a field's name (RFC 5322 section
// 2.2), spaces before the colon allowed as of old (section 4.5.8).
func isField(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return found && len(name) > 0 && !strings.ContainsFunc(string(name), func(r rune) bool { return r <= ' ' || r > '~' })
}

// transferEncoding is 7bit where that can carry the header as it is, and
// quoted-printable otherwise (RFC 6522 section 4).
func transferEncoding(header []byte, boundary string) string {
	if bytes.Contains(header, []byte(boundary)) {
		return "quoted-printable"
	}
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		foreign := bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' })
		if foreign || len(line) > longestLine {
			return "quoted-printable"
		}
	}
	return "7bit"
}
