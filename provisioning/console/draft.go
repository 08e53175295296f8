package console

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sealpost/provisioning/settings"
)

// draft is a settings text that is being edited. It keeps keys that the
// dialogue does not ask for.
type draft struct{ tree map[string]any }

// parseDraft reads the text of a sealpost.toml.
func parseDraft(text string) (draft, error) {
	d := draft{map[string]any{}}
	if err := toml.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), &d.tree); err != nil {
		return d, fmt.Errorf("reading the settings: %w", err)
	}
	return d, nil
}

// text writes the draft as TOML.
func (d draft) text() (string, error) {
	prune(d.tree)
	text, err := toml.Marshal(d.tree)
	if err != nil {
		return "", fmt.Errorf("writing the settings: %w", err)
	}
	return string(text), nil
}

// prune removes empty sections.
func prune(tree map[string]any) {
	for name, value := range tree {
		if table, isTable := value.(map[string]any); isTable {
			if prune(table); len(table) == 0 {
				delete(tree, name)
			}
		}
	}
}

// section returns the table of a dotted key, and the last part of the key.
func (d draft) section(key string) (table map[string]any, name string) {
	table = d.tree
	for {
		first, rest, dotted := strings.Cut(key, ".")
		if !dotted {
			return table, first
		}
		next, isTable := table[first].(map[string]any)
		if !isTable {
			next = map[string]any{}
			table[first] = next
		}
		table, key = next, rest
	}
}

// get returns a value as text, a list with commas; empty if it is not set.
func (d draft) get(key string) string {
	table, name := d.section(key)
	switch value := table[name].(type) {
	case nil:
		return ""
	case []any:
		items := make([]string, len(value))
		for i := range value {
			items[i] = fmt.Sprint(value[i])
		}
		return strings.Join(items, ", ")
	default:
		return fmt.Sprint(value)
	}
}

// put sets a text; an empty one removes the key, which then has its default.
func (d draft) put(key, value string) error {
	if value == "" {
		return d.change(key, nil)
	}
	return d.change(key, value)
}

// putList sets a list from values separated by commas or spaces.
func (d draft) putList(key, values string) error {
	var list []any
	for _, value := range strings.FieldsFunc(values, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		list = append(list, value)
	}
	if list == nil {
		return d.change(key, nil)
	}
	return d.change(key, list)
}

// change sets a value, or returns the validation error and restores the
// previous value.
func (d draft) change(key string, value any) error {
	table, name := d.section(key)
	before, found := table[name]
	if value == nil {
		delete(table, name)
	} else {
		table[name] = value
	}
	err := d.faults(key)
	if err == nil {
		return nil
	}
	table, name = d.section(key) // text may have pruned an empty table
	delete(table, name)
	if found {
		table[name] = before
	}
	return err
}

// faults returns the validation errors of one key and of the text as a whole,
// because other keys may not have been asked for yet.
func (d draft) faults(key string) error {
	text, err := d.text()
	if err != nil {
		return err
	}
	_, err = settings.Parse([]byte(text))
	var all settings.Errors
	if !errors.As(err, &all) {
		return err
	}
	var messages []string
	for _, fault := range all {
		if fault.Key == key || fault.Key == "" {
			messages = append(messages, fault.Message)
		}
	}
	if messages == nil {
		return nil
	}
	return invalidInput(strings.Join(messages, "\n"))
}
