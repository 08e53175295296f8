package oauth

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is text that opens something: a token, a client secret, a device
// code. Whatever prints it gets "[redacted]".
type Secret struct {
	// A pointer: fmt prints the fields of others' unexported fields without
	// asking their type, and would find the text itself.
	text *string
}

// NewSecret keeps a text from being printed.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal gives the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells whether there is nothing to keep secret.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Equal compares in a time that tells nothing of the texts but their lengths.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, for every verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, and so serves JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
