package submission

import (
	"context"
	"fmt"
	"log/slog"
)

// Token is an access token (RFC 6749 section 1.4). It is redacted when printed.
type Token string

const redacted = "[redacted]"

// Format implements fmt.Formatter.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// TokenProvider provides access tokens: the same one until it is rejected or
// expires.
type TokenProvider interface {
	// Token returns the current token. If the error has a method
	// Configuration() bool, that reports whether a configuration change is
	// needed.
	Token(ctx context.Context) (Token, error)
	// Reject reports that the server rejected the token; a new one is provided
	// if possible.
	Reject(token Token)
}

// tokenError is the error of a login without a token; its text is for people.
type tokenError struct{ err error }

func (n *tokenError) Error() string { return "no access token for the login: " + n.err.Error() }
func (n *tokenError) Unwrap() error { return n.err }
