package settings

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// EditDevice returns a settings text with changes to one [[device]], which is added if it
// is missing. which is its address, network or MAC address. Each change is a key of
// [Device] with its new value as a person types it, lists separated by commas; an
// empty value removes the key. Everything else in the text stays as it is, comments
// too. Its error is of type [Errors] if the text or the result is not valid.
func EditDevice(text []byte, which string, changes map[string]string) ([]byte, error) {
	s, err := Parse(text)
	if err != nil {
		return nil, err
	}
	wanted, err := deviceNamed(which)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(s.Devices, func(d Device) bool { return d.Address == wanted.Address && d.MAC == wanted.MAC })
	if at >= 0 {
		wanted = s.Devices[at]
	}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if err := wanted.set(key, changes[key]); err != nil {
			return nil, err
		}
	}
	block, err := wanted.text()
	if err != nil {
		return nil, err
	}
	edited, err := replaceDevice(text, at, block)
	if err != nil {
		return nil, err
	}
	result, err := Parse(edited)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		at, s.Devices = len(s.Devices), append(s.Devices, wanted)
	}
	s.Devices[at] = wanted
	if !reflect.DeepEqual(result, s) {
		return nil, errNotEdited
	}
	return edited, nil
}

var errNotEdited = errors.New("the settings cannot be changed by a command, because they write devices in another form than [[device]]: edit them by hand")

// RemoveDevice returns a settings text without a [[device]].
func RemoveDevice(text []byte, which string) ([]byte, error) {
	s, err := Parse(text)
	if err != nil {
		return nil, err
	}
	wanted, err := deviceNamed(which)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(s.Devices, func(d Device) bool { return d.Address == wanted.Address && d.MAC == wanted.MAC })
	if at < 0 {
		return nil, fmt.Errorf("the settings have no [[device]] for %s", which)
	}
	edited, err := replaceDevice(text, at, nil)
	if err != nil {
		return nil, err
	}
	result, err := Parse(edited)
	if err != nil {
		return nil, err
	}
	if s.Devices = slices.Delete(s.Devices, at, at+1); len(s.Devices) == 0 {
		s.Devices = nil
	}
	if !reflect.DeepEqual(result, s) {
		return nil, errNotEdited
	}
	return edited, nil
}

// DeviceKeys returns the keys of a [[device]] that EditDevice changes.
func DeviceKeys() (keys []string) {
	for _, f := range fields(reflect.TypeFor[Device]()) {
		if key := f.Tag.Get("toml"); key != "address" && key != "mac" {
			keys = append(keys, key)
		}
	}
	return keys
}

// DeviceText returns a [[device]] of a settings text as EditDevice writes it; empty if
// there is none for which.
func DeviceText(text []byte, which string) (string, error) {
	s, err := Parse(text)
	if err != nil {
		return "", err
	}
	wanted, err := deviceNamed(which)
	if err != nil {
		return "", err
	}
	for _, d := range s.Devices {
		if d.Address == wanted.Address && d.MAC == wanted.MAC {
			block, err := d.text()
			return string(block), err
		}
	}
	return "", nil
}

// deviceNamed returns a device of which only the address or the MAC address is set.
func deviceNamed(which string) (d Device, err error) {
	if d.MAC.UnmarshalText([]byte(which)) == nil && d.MAC != "" {
		return d, nil
	}
	if err = d.Address.UnmarshalText([]byte(which)); err == nil && !d.Address.IsValid() {
		err = errors.New("name a device by its address or its MAC address")
	}
	return d, err
}

// set sets one key from what a person typed.
func (d *Device) set(key, value string) error {
	field, known := fieldNamed(reflect.ValueOf(d).Elem(), key)
	if !known || !slices.Contains(DeviceKeys(), key) {
		return fmt.Errorf("there is no setting %q of a device: choose from %s", key, strings.Join(DeviceKeys(), ", "))
	}
	if value == "" {
		field.SetZero()
		return nil
	}
	var given any = value
	switch field.Kind() {
	case reflect.Slice:
		var list []any
		for item := range strings.SplitSeq(value, ",") {
			list = append(list, strings.TrimSpace(item))
		}
		given = list
	case reflect.Bool:
		if b, err := strconv.ParseBool(value); err == nil {
			given = b
		}
	case reflect.Int:
		if n, err := strconv.ParseInt(value, 10, 32); err == nil {
			given = n
		}
	}
	if err := assign(field, given); err != nil {
		return fmt.Errorf("the setting %s: %w", key, err)
	}
	return nil
}

// text returns the [[device]] without what has its default.
func (d Device) text() ([]byte, error) {
	b := bytes.NewBufferString("[[device]]\n")
	value := reflect.ValueOf(d)
	for _, f := range fields(value.Type()) {
		field := value.FieldByIndex(f.Index)
		if field.IsZero() {
			continue
		}
		line, err := toml.Marshal(map[string]any{f.Tag.Get("toml"): field.Interface()})
		if err != nil {
			return nil, fmt.Errorf("writing the device: %w", err)
		}
		b.Write(line)
	}
	return b.Bytes(), nil
}

// replaceDevice replaces the [[device]] number at, counted from 0, by block, but keeps
// its comments that have a line of their own. If at is negative it adds the block.
func replaceDevice(text []byte, at int, block []byte) ([]byte, error) {
	lines, lineEnd := bytes.SplitAfter(text, []byte("\n")), []byte("\n")
	if bytes.HasSuffix(lines[0], []byte("\r\n")) { // a text from Windows
		lineEnd = []byte("\r\n")
		block = bytes.ReplaceAll(block, []byte("\n"), lineEnd)
	}
	if at < 0 {
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			text = slices.Concat(text, lineEnd)
		}
		return slices.Concat(text, lineEnd, block), nil
	}
	begin, end := deviceLines(text, at, len(lines))
	if begin == 0 {
		return nil, errNotEdited
	}
	for end > begin && isBlankOrComment(lines[end-1]) {
		end-- // it belongs to what follows
	}
	var kept []byte
	for _, line := range lines[begin:end] {
		if trimmed := bytes.TrimSpace(line); bytes.HasPrefix(trimmed, []byte("#")) && block != nil {
			kept = append(kept, line...)
		}
	}
	return slices.Concat(bytes.Join(lines[:begin-1], nil), block, kept, bytes.Join(lines[end:], nil)), nil
}

// byteOrderMark is what editors on Windows may write before a text.
const byteOrderMark = "\ufeff"

func isBlankOrComment(line []byte) bool {
	trimmed := bytes.TrimSpace(line)
	return len(trimmed) == 0 || trimmed[0] == '#'
}

// deviceLines returns the line of the header of the [[device]] number at, counted from 1,
// and the last line that belongs to it; 0 if there is no such header.
func deviceLines(text []byte, at, last int) (begin, end int) {
	var p unstable.Parser
	p.Reset(bytes.TrimPrefix(text, []byte(byteOrderMark)))
	for n := 0; p.NextExpression(); {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		line := p.Shape(lastKey(e).Raw).Start.Line
		if begin > 0 {
			return begin, line - 1
		}
		it := e.Key()
		if it.Next() && e.Kind == unstable.ArrayTable && string(it.Node().Data) == "device" && it.IsLast() {
			if n == at {
				begin = line
			}
			n++
		}
	}
	return begin, last
}
