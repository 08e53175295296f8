package header

import "bytes"

// MaxLine is the number of octets of the longest line in a message, without its CRLF (RFC
// 5322 section 2.1.1).
const MaxLine = 998

// fold breaks the lines of a field's value that are too long, at white space. If a line
// has none it is broken at any place in an unstructured field, and stays as it is in
// another. column is where the value begins.
func fold(column int, value []byte, unstructured bool) (folded []byte, changed bool) {
	if column+len(value) <= MaxLine {
		return value, false
	}
	var out []byte
	for i, line := range bytes.Split(value, []byte("\r\n")) {
		if i > 0 {
			out, column = append(out, "\r\n"...), 0
		}
		for column+len(line) > MaxLine {
			at := foldingPlace(line, MaxLine-column, column > 0)
			switch {
			case at >= 0:
				out = append(append(out, line[:at]...), "\r\n"...)
				line, changed = line[at:], true
			case len(bytes.TrimRight(line[1:], " \t")) < len(line)-1:
				line, changed = line[:1+len(bytes.TrimRight(line[1:], " \t"))], true
				continue
			case unstructured:
				at = MaxLine - column
				out = append(append(out, line[:at]...), "\r\n "...)
				out, line = out[:len(out)-1], append([]byte(" "), line[at:]...)
				changed = true
			default:
				out = append(out, line...)
				line = nil
			}
			column = 0
		}
		out = append(out, line...)
	}
	return out, changed
}

// foldingPlace returns the index of the last white space up to limit at which the line can
// be broken with text on both sides, or -1. named says that a field's name is before it.
func foldingPlace(line []byte, limit int, named bool) int {
	first := 0
	if !named {
		first = len(line) - len(bytes.TrimLeft(line, " \t")) + 1
	}
	last := len(bytes.TrimRight(line, " \t")) - 1
	for at := min(limit, last); at >= first; at-- {
		if line[at] == ' ' || line[at] == '\t' {
			return at
		}
	}
	return -1
}
