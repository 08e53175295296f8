package settings

import (
	"fmt"
	"slices"
	"strings"
)

// choose sets a value that must be one of values.
func choose[T ~string](into *T, text []byte, what string, values ...T) error {
	if slices.Contains(values, T(text)) {
		*into = T(text)
		return nil
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = fmt.Sprintf("%q", string(value))
	}
	last := len(quoted) - 1
	choice := strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	return fmt.Errorf("%q is not %s: write %s", text, what, choice)
}

// SendAs says what to do with a message that was rejected for its sender.
type SendAs string

// The values of SendAs.
const (
	SendAsBounce  SendAs = "bounce"  // the sender gets a DSN
	SendAsDefault SendAs = "default" // it is sent from the default sender
)

// UnmarshalText accepts "bounce" and "default".
func (a *SendAs) UnmarshalText(text []byte) error {
	return choose(a, text, "a value of send_as", SendAsBounce, SendAsDefault)
}

// Grant is the OAuth 2.0 grant by which the box gets an access token.
type Grant string

// The grants.
const (
	GrantCertificate Grant = "certificate" // an assertion signed with a certificate's key (RFC 7523)
	GrantSecret      Grant = "secret"      // the application's secret
	GrantDevice      Grant = "device"      // a person's sign-in by device code (RFC 8628)
)

// UnmarshalText accepts "certificate", "secret" and "device".
func (g *Grant) UnmarshalText(text []byte) error {
	return choose(g, text, "a grant", GrantCertificate, GrantSecret, GrantDevice)
}

// SigningKey is the key that signs assertions.
type SigningKey string

// The signing keys.
const (
	KeyOwn       SigningKey = "own"       // created by the box for this purpose
	KeyConnector SigningKey = "connector" // the key of the imported client certificate
)

// UnmarshalText accepts "own" and "connector".
func (k *SigningKey) UnmarshalText(text []byte) error {
	return choose(k, text, "a key", KeyOwn, KeyConnector)
}

// Algorithm is the signature algorithm of an assertion (RFC 7518, 3.1).
type Algorithm string

// The algorithms.
const (
	AlgorithmPS256 Algorithm = "PS256"
	AlgorithmRS256 Algorithm = "RS256"
)

// UnmarshalText accepts "PS256" and "RS256".
func (a *Algorithm) UnmarshalText(text []byte) error {
	return choose(a, text, "an algorithm", AlgorithmPS256, AlgorithmRS256)
}

// Protection is what protects private keys and secrets.
type Protection string

// The protections.
const (
	ProtectionTPM  Protection = "tpm"
	ProtectionFile Protection = "file"
)

// UnmarshalText accepts "tpm" and "file".
func (p *Protection) UnmarshalText(text []byte) error {
	return choose(p, text, "a protection", ProtectionTPM, ProtectionFile)
}

// Format is the format of log lines.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// UnmarshalText accepts "text" and "json".
func (f *Format) UnmarshalText(text []byte) error {
	return choose(f, text, "a journal format", FormatText, FormatJSON)
}
