package header

import (
	"bytes"
	"slices"
	"strings"
)

// headerField is one field of a header.
type headerField struct {
	title   string // its name as written
	lower   string // its name in lower case
	value   []byte // what follows the colon, with its folding, without the last CRLF
	changed bool
}

// text returns the value unfolded, without white space around it.
func (f headerField) text() string { return unfolded(f.value) }

func unfolded(value []byte) string {
	if bytes.IndexByte(value, '\n') < 0 {
		return string(bytes.TrimSpace(value))
	}
	return strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
}

func newField(title string, value []byte) headerField {
	return headerField{title: title, lower: strings.ToLower(title), value: value}
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
		f := newField(string(name), line[colon+1:len(line):len(line)])
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
	f := newField(title, []byte(" "+value))
	f.changed = true
	h.fields = append(h.fields, f)
}

// all returns the indexes of the fields of that name.
func (h *repair) all(name string) (indexes []int) {
	for i, f := range h.fields {
		if f.lower == name {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// remove removes the fields of that name that are empty.
func (h *repair) removeEmpty(name string) {
	h.fields = slices.DeleteFunc(h.fields, func(f headerField) bool {
		empty := f.lower == name && f.text() == ""
		h.changed = h.changed || empty
		return empty
	})
}

// setAside renames a field that is replaced or may not occur twice.
func (h *repair) setAside(i int) {
	value := h.fields[i].value
	h.fields[i] = newField("X-Original-"+h.fields[i].title, value)
	h.fields[i].changed = true
}
