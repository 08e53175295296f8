package settings

import (
	"fmt"
	"slices"
	"strings"
)

// choose takes one of the words that a setting may have.
func choose[T ~string](into *T, text []byte, what string, words ...T) error {
	if slices.Contains(words, T(text)) {
		*into = T(text)
		return nil
	}
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = fmt.Sprintf("%q", string(word))
	}
	last := len(quoted) - 1
	choice := strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	return fmt.Errorf("%q is not %s: write %s", text, what, choice)
}

// SendAs is what becomes of a message that was refused for its sender.
type SendAs string

// The ways to go on.
const (
	SendAsBounce  SendAs = "bounce"  // the sender gets a DSN
	SendAsDefault SendAs = "default" // it leaves under the default sender
)

// UnmarshalText accepts "bounce" and "default".
func (a *SendAs) UnmarshalText(text []byte) error {
	return choose(a, text, "a way to go on", SendAsBounce, SendAsDefault)
}

// Grant is what the box shows for an access token.
type Grant string

// The grants there are.
const (
	GrantCertificate Grant = "certificate" // an assertion signed with a certificate's key (RFC 7523)
	GrantSecret      Grant = "secret"      // the application's secret
	GrantDevice      Grant = "device"      // a person's sign-in by device code (RFC 8628)
)

// UnmarshalText accepts "certificate", "secret" and "device".
func (g *Grant) UnmarshalText(text []byte) error {
	return choose(g, text, "a grant", GrantCertificate, GrantSecret, GrantDevice)
}

// SigningKey is whose key signs assertions.
type SigningKey string

// The keys there are.
const (
	KeyOwn       SigningKey = "own"       // made for this, by the box
	KeyConnector SigningKey = "connector" // that of the imported client certificate
)

// UnmarshalText accepts "own" and "connector".
func (k *SigningKey) UnmarshalText(text []byte) error {
	return choose(k, text, "a key", KeyOwn, KeyConnector)
}

// Algorithm is how an assertion is signed (RFC 7518, 3.1).
type Algorithm string

// The algorithms there are.
const (
	AlgorithmPS256 Algorithm = "PS256"
	AlgorithmRS256 Algorithm = "RS256"
)

// UnmarshalText accepts "PS256" and "RS256".
func (a *Algorithm) UnmarshalText(text []byte) error {
	return choose(a, text, "an algorithm", AlgorithmPS256, AlgorithmRS256)
}

// Protection is what guards private keys and secrets.
type Protection string

// The protections there are.
const (
	ProtectionTPM  Protection = "tpm"
	ProtectionFile Protection = "file"
)

// UnmarshalText accepts "tpm" and "file".
func (p *Protection) UnmarshalText(text []byte) error {
	return choose(p, text, "a protection", ProtectionTPM, ProtectionFile)
}

// Format is the shape of log lines.
type Format string

// The formats there are.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// UnmarshalText accepts "text" and "json".
func (f *Format) UnmarshalText(text []byte) error {
	return choose(f, text, "a journal format", FormatText, FormatJSON)
}
