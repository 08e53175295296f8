package submission

import (
	"context"
	"fmt"
	"log/slog"
)

// Token is an access token (RFC 6749 section 1.4). However it is printed, it
// does not show.
type Token string

const redacted = "[redacted]"

// Format implements fmt.Formatter.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Tokens gives access tokens, one for every login until it is refused or
// expires.
type Tokens interface {
	// Token gives the token that is good now. An error that has a method
	// Configuration() bool tells by it whether somebody must change something
	// before there can be one.
	Token(ctx context.Context) (Token, error)
	// Refuse tells that the server did not take the token: another is given,
	// where one can be had.
	Refuse(token Token)
}

// noToken is the error of a login without a token; its text is meant for the
// technician.
type noToken struct{ err error }

func (n *noToken) Error() string { return "no access token for the login: " + n.err.Error() }
func (n *noToken) Unwrap() error { return n.err }
