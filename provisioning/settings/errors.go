package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a settings text, with what to do about it.
type Error struct {
	Line    int    `json:"line,omitempty"` // counted from 1; 0 for no particular line
	Key     string `json:"key,omitempty"`  // such as "lan.allow"; empty for a fault of the whole text
	Message string `json:"message"`
}

func (e Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// Errors are the faults of one text, in the order of its lines.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// has reports whether there is an error for key.
func (e Errors) has(key string) bool {
	return slices.ContainsFunc(e, func(known Error) bool { return known.Key == key })
}

// covers reports whether there is an error for key or, if it is a table of an array,
// for a key of it.
func (e Errors) covers(key string) bool {
	return slices.ContainsFunc(e, func(known Error) bool {
		return known.Key == key || strings.HasSuffix(key, "]") && strings.HasPrefix(known.Key, key+".")
	})
}

// result returns e as an error, sorted by line; nil if it is empty.
func (e Errors) result() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	return e
}
