package settings

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// joinKey returns a dotted key. A name that TOML requires to be quoted is quoted, so that
// "lan.allow" as one name is not the key allow of the section lan.
func joinKey(path, name string) string {
	bare := func(r rune) bool {
		return r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !bare(r) }) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// keyLines maps each dotted key and section of a well-formed text to its line.
func keyLines(text []byte) map[string]int {
	lines, tables := map[string]int{}, map[string]int{}
	var p unstable.Parser
	section := ""
	p.Reset(text)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			section = noteKey(&p, lines, "", e)
		case unstable.ArrayTable:
			name := noteKey(&p, lines, "", e)
			tables[name]++
			section = element(name, tables[name])
			lines[section] = p.Shape(lastKey(e).Raw).Start.Line
		case unstable.KeyValue:
			noteKeyValue(&p, lines, section, e)
		}
	}
	return lines
}

func noteKeyValue(p *unstable.Parser, lines map[string]int, section string, e *unstable.Node) {
	key := noteKey(p, lines, section, e)
	if value := e.Value(); value.Kind == unstable.InlineTable {
		for it := value.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				noteKeyValue(p, lines, key, it.Node())
			}
		}
	}
}

// noteKey records the line of each part of e's dotted key and returns the
// complete key.
func noteKey(p *unstable.Parser, lines map[string]int, section string, e *unstable.Node) string {
	key := section
	for it := e.Key(); it.Next(); {
		key = joinKey(key, string(it.Node().Data))
		if _, seen := lines[key]; !seen {
			lines[key] = p.Shape(it.Node().Raw).Start.Line
		}
	}
	return key
}

// lastKey returns the last part of e's dotted key.
func lastKey(e *unstable.Node) (last *unstable.Node) {
	for it := e.Key(); it.Next(); {
		last = it.Node()
	}
	return last
}

// element returns the key of the nth table of an array, counted from 1.
func element(array string, n int) string { return fmt.Sprintf("%s[%d]", array, n) }

// elementIndex matches what element adds to a key.
var elementIndex = regexp.MustCompile(`\[[0-9]+\]`)

// fields returns the fields of a section, with embedded structs flattened.
func fields(section reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(section), func(f reflect.StructField) bool { return f.Anonymous })
}

// fieldNamed returns the field of a section with a TOML name.
func fieldNamed(section reflect.Value, name string) (reflect.Value, bool) {
	for _, field := range fields(section.Type()) {
		if field.Tag.Get("toml") == name {
			return section.FieldByIndex(field.Index), true
		}
	}
	return reflect.Value{}, false
}

func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isTables reports whether t is an array of tables.
func isTables(t reflect.Type) bool { return t.Kind() == reflect.Slice && isSection(t.Elem()) }

// knownKeys lists every key and section of the schema below prefix.
func knownKeys(prefix string, t reflect.Type) []string {
	var keys []string
	for _, field := range fields(t) {
		key := joinKey(prefix, field.Tag.Get("toml"))
		keys = append(keys, key)
		switch {
		case isSection(field.Type):
			keys = append(keys, knownKeys(key, field.Type)...)
		case isTables(field.Type):
			keys = append(keys, knownKeys(key, field.Type.Elem())...)
		}
	}
	return keys
}

// nearestKey returns the known key most similar to an unknown one; empty if
// there is none.
func nearestKey(unknown string) string {
	all := knownKeys("", reflect.TypeFor[Settings]())
	unknown = elementIndex.ReplaceAllString(unknown, "")
	name := unknown[strings.LastIndexByte(unknown, '.')+1:]
	nearest, best := "", len(unknown)/3+2
	for _, key := range all {
		distance := levenshtein(strings.ToLower(unknown), key)
		// The right key under the wrong section is near, however long the section's name.
		if key[strings.LastIndexByte(key, '.')+1:] == name {
			distance = min(distance, 1)
		}
		if distance < best {
			nearest, best = key, distance
		}
	}
	return nearest
}

func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
