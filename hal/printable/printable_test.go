package printable

import "testing"

func TestText_HasNothingThatControlsATerminal(t *testing.T) {
	for given, want := range map[string]struct{ line, text string }{
		"plain Grüße":     {"plain Grüße", "plain Grüße"},
		"\x1b[2J\a\x00":   {"�[2J��", "�[2J��"},
		"\u009b2J":        {"�2J", "�2J"},
		"\x9b2J":          {"�2J", "�2J"},
		"a\u202eb\u2066c": {"a�b�c", "a�b�c"},
		"a\n\tb\rc":       {"a��b�c", "a\n\tb�c"},
		"für\u00a0Büro":   {"für Büro", "für Büro"},
		"a\u2028b":        {"a�b", "a�b"},
	} {
		if line, text := Line(given), Text(given); line != want.line || text != want.text {
			t.Errorf("%q: got %q and %q, want %q and %q", given, line, text, want.line, want.text)
		}
	}
}
