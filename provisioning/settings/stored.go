package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Schema is the number of the schema that this version reads and writes. It is
// stored beside the settings; settings without a number have schema 1.
//
// Raise the number, and add a migration, when a key is renamed or removed, or
// its meaning or the form of its value changes. A new key needs neither: older
// versions ignore it.
const Schema = 1

// migration converts a tree to the next schema.
type migration func(tree map[string]any) error

// migrations convert from schema 1 up to Schema, one step each.
var migrations []migration

// Stored is the result of reading stored settings, written by this version or
// by another version.
type Stored struct {
	Settings
	// Schema is the schema of the text.
	Schema int
	// Ignored lists unknown keys, and keys with an unknown value, which have
	// their default.
	Ignored Errors
}

// StoredError says why stored settings cannot be used.
type StoredError struct {
	Schema int
	Faults Errors
}

func (e *StoredError) Error() string {
	text := "the stored settings cannot be used"
	if e.Schema > Schema {
		text = fmt.Sprintf("the stored settings are of schema %d, this version reads schema %d, and cannot use them", e.Schema, Schema)
	}
	return fmt.Sprintf("%s:\n%v\ninstall the version again that wrote them, or replace them over the serial console or with a USB stick", text, e.Faults)
}

// Unwrap lets errors.As find Errors and a single Error.
func (e *StoredError) Unwrap() error { return e.Faults }

// ParseStored reads stored settings of any schema. A box must keep working with
// settings of a newer version: unknown keys are ignored, and an unknown value is
// replaced by the default if that permits nothing that the settings forbid. Both
// are listed in the result.
//
// Its error is of type *[StoredError]. What could be read is also returned,
// because the box keeps using its network settings.
func ParseStored(text []byte, schema int) (Stored, error) {
	s, _, err := parseStored(text, schema, migrations)
	return s, err
}

// EditStored returns stored settings as a text that [Parse] reads, for editing:
// in this version's schema, and without what ParseStored ignores, which it lists.
// If there is nothing to convert, the text is unchanged. Its error is of type
// *[StoredError].
func EditStored(text []byte, schema int) (edited []byte, dropped Errors, err error) {
	return editStored(text, schema, migrations)
}

func editStored(text []byte, schema int, steps []migration) ([]byte, Errors, error) {
	s, tree, err := parseStored(text, schema, steps)
	if err != nil {
		return nil, nil, err
	}
	if len(s.Ignored) == 0 && s.Schema > len(steps) {
		return text, nil, nil
	}
	removeUnknown(tree, reflect.ValueOf(&s.Settings).Elem())
	for _, e := range s.Ignored {
		remove(tree, e.Key) // unknown keys have been removed already
	}
	edited, err := toml.Marshal(tree)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the stored settings for a change: %w", err)
	}
	return edited, s.Ignored, nil
}

// removeUnknown removes unknown keys from the tree of a section.
func removeUnknown(tree map[string]any, section reflect.Value) {
	for name, value := range tree {
		field, known := fieldNamed(section, name)
		if !known {
			delete(tree, name)
			continue
		}
		if sub, isTable := value.(map[string]any); isTable && isSection(field.Type()) {
			removeUnknown(sub, field)
		}
		if array, ok := value.([]any); ok && isTables(field.Type()) {
			for _, item := range array {
				if sub, isTable := item.(map[string]any); isTable {
					removeUnknown(sub, reflect.New(field.Type().Elem()).Elem())
				}
			}
		}
	}
}

// remove removes a dotted key from a tree.
func remove(tree map[string]any, key string) {
	section, rest, dotted := strings.Cut(key, ".")
	if !dotted {
		delete(tree, key)
	} else if sub, isTable := tree[section].(map[string]any); isTable {
		remove(sub, rest)
	}
}

// parseStored also returns the tree, in the newest schema of steps.
func parseStored(text []byte, schema int, steps []migration) (Stored, map[string]any, error) {
	s := Stored{Settings: Default(), Schema: max(1, schema)}
	failed := func(faults Errors) error { return &StoredError{s.Schema, faults} }
	text, err := plainText(text)
	if err != nil {
		return s, nil, failed(err.(Errors))
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return s, nil, failed(Errors{syntaxError(err)})
	}
	var faults Errors // parsing continues after a fault, for the network settings
	for n := s.Schema - 1; n < len(steps) && faults == nil; n++ {
		if err := steps[n](tree); err != nil {
			faults = Errors{{Message: fmt.Sprintf("converting them from schema %d to %d: %v", n+1, n+2, err)}}
		}
	}
	r := reader{lines: keyLines(text), keepsUnknown: true}
	s.Settings = defaults(tree)
	r.section("", tree, reflect.ValueOf(&s.Settings).Elem())
	l := lenient{settings: &s.Settings, defaults: defaults(tree), ignored: r.unknown, faults: faults}
	if s.Schema > len(steps)+1 {
		l.guard(r)
	}
	l.classify(r.errs)
	l.fit(r.lineOf)
	_, _ = l.ignored.result(), l.faults.result() // sorts them
	s.Ignored = l.ignored
	if len(l.faults) > 0 {
		return s, tree, failed(l.faults)
	}
	return s, tree, nil
}

// lenient separates faults that can be ignored from those that cannot.
type lenient struct {
	settings        *Settings
	defaults        Settings
	ignored, faults Errors
}

// guarded are keys whose absence permits more: without lan.allow every subnet of
// the box may send, and without upstream.method mail uses the default method.
var guarded = []string{"lan.allow", "upstream.method"}

// guard rejects settings of a newer schema in which a guarded key is missing and
// its section has an unknown key, because the key may have been renamed.
func (l *lenient) guard(r reader) {
	for _, key := range guarded {
		if _, set := r.lines[key]; set {
			continue
		}
		section := key[:strings.LastIndexByte(key, '.')]
		for _, e := range r.unknown {
			if e.Key[:max(0, strings.LastIndexByte(e.Key, '.'))] == section {
				e.Message = fmt.Sprintf("%s is not known to this version, and %s, which it may replace, is not set", e.Key, key)
				l.faults = append(l.faults, e)
			}
		}
	}
}

// classify separates the faults of a reader, which left their keys at the default.
func (l *lenient) classify(faults Errors) {
	for _, e := range faults {
		if hasSafeDefault(e.Key, l.settings.Upstream.Method) {
			l.ignore(e)
		} else {
			l.faults = append(l.faults, e)
		}
	}
}

// fit resolves conflicts between values: a conflicting value gets its default,
// and if that does not help, its whole section does. The network section as a
// whole is never reset, because the box would become unreachable.
func (l *lenient) fit(lineOf func(key string) int) {
	reset := map[string]bool{}
	for changed := true; changed; {
		changed = false
		for _, e := range l.settings.check() {
			e.Line = lineOf(e.Key)
			section, _, _ := strings.Cut(e.Key, ".")
			if l.faults.has(e.Key) || l.faults.has("upstream.method") && section != "network" {
				continue // without a method no check is possible
			}
			key := e.Key
			if reset[key] {
				key = section
			}
			if reset[key] || key == "network" || !hasSafeDefault(key, l.settings.Upstream.Method) {
				l.faults = append(l.faults, e)
				continue
			}
			reset[key], changed = true, true
			setTo(reflect.ValueOf(l.settings).Elem(), reflect.ValueOf(l.defaults), key)
			e.Key = key
			l.ignore(e)
			break // this may have resolved other conflicts
		}
	}
}

func (l *lenient) ignore(e Error) {
	if !l.ignored.has(e.Key) {
		e.Message = fmt.Sprintf("%s has its default instead: %s", e.Key, e.Message)
		l.ignored = append(l.ignored, e)
	}
}

// setTo sets the key's field in section to its value in from.
func setTo(section, from reflect.Value, key string) {
	for name := range strings.SplitSeq(key, ".") {
		section, _ = fieldNamed(section, name)
		from, _ = fieldNamed(from, name)
	}
	section.Set(from)
}

// decisive are the keys that say where and how mail is sent, from which senders,
// who may send it, and whom the box trusts. They have no safe default: it could
// permit what the settings forbid.
var decisive = []string{
	"lan.allow", "lan.smtp", "lan.smtps", "lan.require_tls", "lan.require_auth",
	"senders.accepted_domains", "senders.map", "senders.foreign", "senders.empty", "senders.from",
	"recipients.allow", "device",
	"upstream.method", "upstream.cloud",
	"upstream.connector.host", "upstream.connector.ca_file", "upstream.connector.ca",
	"upstream.submission.host", "upstream.submission.user", "upstream.submission.own_mailbox",
	"upstream.submission.ca_file", "upstream.submission.ca",
	"upstream.oauth.tenant", "upstream.oauth.client_id", "upstream.oauth.grant", "upstream.oauth.key",
	"upstream.oauth.token_url", "upstream.oauth.device_url", "upstream.oauth.scopes", "upstream.oauth.audience",
	"upstream.oauth.ca_file", "upstream.oauth.ca",
	"upstream.recipients", "upstream.direct.resolver", "upstream.direct.domain", "upstream.direct.ca_file", "upstream.direct.ca",
}

// hasSafeDefault reports whether the default may replace a key or a section.
func hasSafeDefault(key string, methods Methods) bool {
	key = elementIndex.ReplaceAllString(key, "")
	return !slices.ContainsFunc(decisive, func(d string) bool {
		section := d[:max(0, strings.LastIndexByte(d, '.'))]
		return methods.reads(section) && (d == key || strings.HasPrefix(d, key+".") || strings.HasPrefix(key, d+"."))
	})
}
