package settings

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"sealpost/hal/printable"
)

// MaxText is the largest settings text, in bytes.
const MaxText = 64 << 10

// Parse reads a sealpost.toml. Its error is of type [Errors] and lists all
// faults; if the text is not TOML, only the first.
func Parse(text []byte) (Settings, error) {
	text, err := plainText(text)
	if err != nil {
		return Settings{}, err
	}
	if err := checkDepth(text); err != nil {
		return Settings{}, err
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return Settings{}, Errors{syntaxError(err)}
	}
	s := defaults(tree)
	r := reader{lines: keyLines(text)}
	r.section("", tree, reflect.ValueOf(&s).Elem())
	for _, e := range s.check() {
		if !r.errs.covers(e.Key) && !slices.Contains(r.meant, e.Key) {
			e.Line = r.lineOf(e.Key)
			r.errs = append(r.errs, e)
		}
	}
	if err := r.errs.result(); err != nil {
		return Settings{}, err
	}
	return s, nil
}

// defaults returns the defaults for the method and the cloud in the text.
func defaults(tree map[string]any) Settings {
	s := Default()
	upstream, _ := tree["upstream"].(map[string]any)
	name, _ := upstream["method"].(string)
	if list, _ := upstream["method"].([]any); len(list) == 1 {
		name, _ = list[0].(string)
	}
	if l := Method(name).Traits().limits; l.connections > 0 {
		s.Upstream.Connections, s.Upstream.MessagesPerMinute, s.Upstream.RecipientsPerDay = l.connections, l.messagesPerMinute, l.recipientsPerDay
	}
	cloud, _ := upstream["cloud"].(string)
	s.Upstream.Submission.Host = Cloud(cloud).Services().Submission
	return s
}

// plainText removes the byte order mark that Windows editors add.
func plainText(text []byte) ([]byte, error) {
	if len(text) > MaxText {
		return nil, Errors{{Message: fmt.Sprintf("the settings are larger than %s: this is not a sealpost.toml", Size(MaxText))}}
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, Errors{{Line: 1, Message: "the settings are saved as UTF-16 (\"Unicode\"): save them again as UTF-8"}}
	}
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
}

func syntaxError(err error) Error {
	e := Error{Message: "the settings are not TOML: " + printable.Line(strings.TrimPrefix(err.Error(), "toml: "))}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		e.Line, _ = at.Position()
		e.Key = printable.Line(strings.Join(at.Key(), "."))
	}
	if strings.Contains(err.Error(), "already defined") || strings.Contains(err.Error(), "already exists") {
		e.Message += ": it is set twice: remove one of the two"
		return e
	}
	e.Message += ": correct this line, written like key = \"text\", and check again"
	return e
}

// reader fills a Settings from a TOML tree and collects the errors.
type reader struct {
	lines map[string]int
	errs  Errors
	meant []string // known keys that were probably meant by unknown ones
	// keepsUnknown collects unknown keys separately from errors.
	keepsUnknown bool
	unknown      Errors
}

// lineOf returns the line of key, or of the section that contains it.
func (r *reader) lineOf(key string) int {
	for key != "" {
		if line, ok := r.lines[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
	return 0
}

func (r *reader) fault(key, format string, args ...any) {
	r.errs = append(r.errs, Error{Line: r.lineOf(key), Key: printable.Line(key), Message: fmt.Sprintf(format, args...)})
}

// unknownKey records an unknown key and the known one that was probably meant.
func (r *reader) unknownKey(key string) {
	nearest := nearestKey(key)
	if nearest == "" {
		r.fault(key, "unknown key %s: remove it; there is no setting of that name", printable.Line(key))
		return
	}
	r.meant = append(r.meant, nearest)
	r.fault(key, "unknown key %s: did you mean %s?", printable.Line(key), nearest)
}

// section assigns every entry of tree to the field of target with its name.
func (r *reader) section(path string, tree map[string]any, target reflect.Value) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		key := joinKey(path, name)
		field, ok := fieldNamed(target, name)
		if !ok && r.keepsUnknown {
			r.unknown = append(r.unknown, Error{r.lineOf(key), printable.Line(key), printable.Line(key) + " is not known to this version and is ignored"})
			continue
		}
		if !ok {
			r.unknownKey(key)
			continue
		}
		if isTables(field.Type()) {
			r.tables(key, tree[name], field)
			continue
		}
		if isSection(field.Type()) {
			if sub, ok := tree[name].(map[string]any); ok {
				r.section(key, sub, field)
			} else {
				r.fault(key, "%s is a section: write it as [%s] with its keys on the lines below", key, key)
			}
			continue
		}
		if err := assign(field, tree[name]); err != nil {
			r.fault(key, "%s: %v", key, err)
		}
	}
}

// tables assigns every table of an array to an element of target.
func (r *reader) tables(path string, value any, target reflect.Value) {
	array, ok := value.([]any)
	if !ok {
		r.fault(path, "%s can be there several times: write each as [[%s]] with its keys on the lines below", path, path)
		return
	}
	all := reflect.MakeSlice(target.Type(), len(array), len(array))
	for i, item := range array {
		key := element(path, i+1)
		if tree, ok := item.(map[string]any); ok {
			r.section(key, tree, all.Index(i))
		} else {
			r.fault(path, "%s can be there several times: write each as [[%s]] with its keys on the lines below", path, path)
		}
	}
	target.Set(all)
}

// assign sets field to the value; on an error field is unchanged.
func assign(field reflect.Value, value any) error {
	if field.Kind() == reflect.Slice {
		return assignList(field, value)
	}
	fresh := reflect.New(field.Type())
	if err := decode(fresh.Interface(), value); err != nil {
		return err
	}
	field.Set(fresh.Elem())
	return nil
}

func assignList(field reflect.Value, value any) error {
	list, ok := value.([]any)
	if !ok && field.Type() == reflect.TypeFor[Methods]() {
		list, ok = []any{value}, true
	}
	if !ok {
		return errors.New("must be a list: put the value in brackets, like [\"…\"]")
	}
	fresh := reflect.MakeSlice(field.Type(), len(list), len(list))
	for i, item := range list {
		if err := assign(fresh.Index(i), item); err != nil {
			return err
		}
	}
	field.Set(fresh)
	return nil
}

// decode fills the value that target points at.
func decode(target, value any) error {
	switch t := target.(type) {
	case *int:
		n, ok := value.(int64)
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			return errors.New("must be a whole number, without quotes")
		}
		*t = int(n)
		return nil
	case *bool:
		b, ok := value.(bool)
		if !ok {
			return errors.New("must be true or false, without quotes")
		}
		*t = b
		return nil
	case *Size:
		// A bare number is a number of bytes.
		if n, ok := value.(int64); ok {
			value = strconv.FormatInt(n, 10)
		}
	}
	if t, ok := target.(*PEM); ok {
		text, _ := value.(string)
		return t.UnmarshalText([]byte(text))
	}
	text, err := cleanString(value)
	if err != nil {
		return err
	}
	return decodeText(target, text)
}

func decodeText(target any, text string) (err error) {
	switch t := target.(type) {
	case *string:
		*t = text
	case *netip.Prefix:
		*t, err = parsePrefix(text)
	case *netip.Addr:
		*t, err = parseAddress(text)
	case *netip.AddrPort:
		*t, err = parseNameServer(text)
	case encoding.TextUnmarshaler:
		err = t.UnmarshalText([]byte(text))
	default:
		err = fmt.Errorf("cannot decode into a %T", target)
	}
	return err
}

// cleanString rejects invisible characters, which pasted names often contain.
func cleanString(value any) (string, error) {
	text, ok := value.(string)
	if !ok {
		return "", errors.New("must be text in quotes, like \"…\"")
	}
	for _, c := range text {
		if !unicode.IsPrint(c) {
			return "", fmt.Errorf("%+q contains the invisible character %U: delete the value and type it by hand", text, c)
		}
	}
	return text, nil
}
