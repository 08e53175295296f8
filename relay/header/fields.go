package header

import (
	"bytes"
	"strings"
)

// headerField is one field of a header.
type headerField struct {
	title   string // its name as written
	value   []byte // what follows the colon, with its folding, without the last CRLF
	changed bool
}

// name returns the name in lower case.
func (f headerField) name() string { return strings.ToLower(f.title) }

// text returns the value unfolded, without white space around it.
func (f headerField) text() string { return unfolded(f.value) }

func unfolded(value []byte) string {
	return strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
}

// repair is the work on one header.
type repair struct {
	*Repairer
	fields  []headerField
	changed bool // fields were added or removed
}

// read splits a header section into its fields.
func (h *repair) read(section []byte) {
	for line := range bytes.Lines(section) {
		if last := len(h.fields) - 1; isFolded(line) {
			if last >= 0 {
				h.fields[last].value = append(h.fields[last].value, line...)
			}
			continue
		}
		colon := bytes.IndexByte(line, ':')
		name := bytes.TrimRight(line[:colon], " \t")
		f := headerField{title: string(name), value: bytes.Clone(line[colon+1:])}
		if len(name) < colon {
			f.changed = true
			h.note(NameTidied)
		}
		h.fields = append(h.fields, f)
	}
	for i := range h.fields {
		h.fields[i].value = bytes.TrimSuffix(h.fields[i].value, []byte("\r\n"))
	}
}

// section returns the header as it is now: the original one if nothing has changed.
func (h *repair) section(original []byte) []byte {
	for _, f := range h.fields {
		h.changed = h.changed || f.changed
	}
	if !h.changed {
		return original
	}
	var out []byte
	for _, f := range h.fields {
		out = append(append(append(out, f.title...), ':'), f.value...)
		out = append(out, "\r\n"...)
	}
	return out
}

// add adds a field at the end.
func (h *repair) add(title, value string) {
	h.fields = append(h.fields, headerField{title: title, value: []byte(" " + value), changed: true})
}

// all returns the indexes of the fields of that name.
func (h *repair) all(name string) (indexes []int) {
	for i, f := range h.fields {
		if f.name() == name {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// remove removes the fields of that name that are empty.
func (h *repair) removeEmpty(name string) {
	var left []headerField
	for _, f := range h.fields {
		if f.name() == name && f.text() == "" {
			h.changed = true
			continue
		}
		left = append(left, f)
	}
	h.fields = left
}

// setAside renames a field that is replaced or may not occur twice.
func (h *repair) setAside(i int) {
	h.fields[i].title = "X-Original-" + h.fields[i].title
	h.fields[i].changed = true
}
