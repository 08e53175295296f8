// Package fault defines what every part of Sealpost reports when something is
// wrong and a person must act: a code, what is wrong in one clause, the facts
// behind it, and the cause.
//
// A fault does not say what to type, because the same fault appears on a command
// line, on a serial console, in JSON and in a log. Each front end has its own
// [Cures] with the cure for each code. This package must not know any front end,
// and imports nothing of Sealpost.
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Code names one kind of fault. Codes appear in JSON and in the journal, so
// that programs can match on them: they are never renamed.
type Code string

// Facts are the values of a fault by name, such as "path". They never contain a
// secret.
type Facts map[string]string

// Fault is an error with a code. For [errors.Is], faults with the same code are the
// same error.
type Fault struct {
	Code  Code   `json:"code,omitempty"`
	Text  string `json:"text"` // what is wrong, for every front end
	Facts Facts  `json:"facts,omitempty"`
	Err   error  `json:"-"` // the cause, or nil
}

// New returns a fault without a cause.
func New(code Code, text string) *Fault { return &Fault{Code: code, Text: text} }

// Wrap returns a fault of the same kind with its cause.
func (f *Fault) Wrap(err error) *Fault {
	return &Fault{f.Code, f.Text, maps.Clone(f.Facts), err}
}

// With returns a fault of the same kind with an additional fact.
func (f *Fault) With(name, value string) *Fault {
	facts := maps.Clone(f.Facts)
	if facts == nil {
		facts = Facts{}
	}
	facts[name] = value
	return &Fault{f.Code, f.Text, facts, f.Err}
}

func (f *Fault) Error() string {
	switch {
	case f == nil:
		return "an unknown fault"
	case f.Err == nil:
		return f.Text
	case f.Text == "":
		return f.Err.Error()
	}
	return f.Text + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error {
	if f == nil {
		return nil
	}
	return f.Err
}

// Is reports whether target is a fault with the same code.
func (f *Fault) Is(target error) bool {
	other, ok := target.(*Fault)
	return ok && f != nil && other != nil && other.Code != "" && other.Code == f.Code
}

// Mark adds a code to err unless it already has one. Its text stays.
func Mark(code Code, err error) error {
	if err == nil || CodeOf(err) != "" {
		return err
	}
	return &Fault{Code: code, Err: err}
}

// CodeOf returns the code of the first fault in err's chain; empty without one.
func CodeOf(err error) Code {
	if f := first(err); f != nil {
		return f.Code
	}
	return ""
}

// first finds the outermost fault with a code in err's tree, which it walks as
// [errors.Is] does.
func first(err error) *Fault {
	if f, ok := err.(*Fault); ok && f != nil && f.Code != "" {
		return f
	}
	switch wrapping := err.(type) {
	case interface{ Unwrap() error }:
		if cause := wrapping.Unwrap(); cause != nil {
			return first(cause)
		}
	case interface{ Unwrap() []error }:
		for _, cause := range wrapping.Unwrap() {
			if f := first(cause); f != nil {
				return f
			}
		}
	}
	return nil
}

// List returns each fault of a joined error separately, with its complete text; an
// error without a code gives one fault per line. List(nil) is nil.
func List(err error) []*Fault {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && isJoin(err, joined.Unwrap()) {
		var all []*Fault
		for _, cause := range joined.Unwrap() {
			all = append(all, List(cause)...)
		}
		return all
	}
	if f := first(err); f != nil {
		return []*Fault{{Code: f.Code, Text: err.Error(), Facts: f.Facts}}
	}
	var all []*Fault
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, &Fault{Text: line})
		}
	}
	if all == nil {
		all = []*Fault{{Text: "an error without a text"}}
	}
	return all
}

// isJoin distinguishes an error of errors.Join from one of fmt.Errorf with several
// causes, which has a single text.
func isJoin(err error, causes []error) bool {
	var texts []string
	for _, cause := range causes {
		texts = append(texts, cause.Error())
	}
	return err.Error() == strings.Join(texts, "\n")
}

// Join joins faults, such as those that another process reported; it returns nil if
// there are none. That process is not trusted: empty faults are skipped.
func Join(faults []*Fault) error {
	var all []error
	for _, f := range faults {
		if f != nil && f.Text != "" {
			all = append(all, f)
		}
	}
	return errors.Join(all...)
}

// document is the JSON form of faults.
type document struct {
	Faults []*Fault `json:"faults"`
}

// Encode returns err as a JSON object that [Decode] reads.
func Encode(err error) []byte {
	text, marshalErr := json.Marshal(document{List(err)})
	if marshalErr != nil { // a fault is strings only
		panic(marshalErr)
	}
	return text
}

// Decode returns the error that another process encoded, so that [errors.Is] finds
// its codes. Any other text becomes an error with that text.
func Decode(text []byte) error {
	var d document
	if json.Unmarshal(text, &d) == nil {
		if err := Join(d.Faults); err != nil {
			return err
		}
		return errors.New("it failed without a message")
	}
	if message := strings.TrimSpace(string(text)); message != "" {
		return errors.New(message)
	}
	return nil
}

// Cures are the cures of one front end by code. A cure may contain facts, as in
// "{path}".
type Cures map[Code]string

// Cure returns what to do about a fault; empty if the text already says it.
func (c Cures) Cure(code Code, facts Facts) string {
	var pairs []string
	for name, value := range facts {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(c[code])
}

// Text returns the text and the cure of each fault, one per line.
func (c Cures) Text(err error) string {
	var lines []string
	for _, f := range List(err) {
		lines = append(lines, c.Append(f.Text, f.Code, f.Facts))
	}
	return strings.Join(lines, "\n")
}

// AppendAll appends the cures of several faults to a text.
func (c Cures) AppendAll(text string, codes []Code) string {
	var cures []string
	for _, code := range codes {
		if cure := c.Cure(code, nil); cure != "" {
			cures = append(cures, cure)
		}
	}
	if len(cures) == 0 {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(cures, "; "))
}

// Append appends the cure to a text.
func (c Cures) Append(text string, code Code, facts Facts) string {
	if cure := c.Cure(code, facts); cure != "" {
		return fmt.Sprintf("%s: %s", text, cure)
	}
	return text
}
