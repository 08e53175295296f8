// Package keyring protects private keys and secrets, and returns a signer or the
// secret.
//
// It uses only hal.TPM. It must not know files, settings or certificates: of a
// certificate it knows only the binding, its digest.
package keyring

import (
	"fmt"
	"log/slog"

	"sealpost/hal"
)

// Protection is how a key or a secret is protected, as settings and reports name
// it.
type Protection string

// The protections, the strongest first.
const (
	TPMResident Protection = "tpm-resident"
	TPMSealed   Protection = "tpm-sealed"
	File        Protection = "file"
)

// Explain says what the protection of a key means.
func (p Protection) Explain() string {
	switch p {
	case TPMResident:
		return "it stays inside this box's TPM and cannot be copied; whoever has the whole running box can still use it"
	case TPMSealed:
		return "the TPM does not support a key of this type, so it is stored encrypted: only this box's TPM can decrypt it, but it is in the box's memory while the box runs"
	case File:
		return "it is stored in clear text: whoever copies the box's storage has it"
	}
	return fmt.Sprintf("the protection %.40q is not known to this version of Sealpost", string(p))
}

// Key is the stored form of a private key. It prints only its protection.
type Key struct {
	Protection Protection     `json:"protection"`
	TPM        *hal.TPMObject `json:"tpm,omitempty"`     // tpm-resident: the key; tpm-sealed: the data key
	Public     []byte         `json:"public,omitempty"`  // tpm-sealed: SubjectPublicKeyInfo
	Box        []byte         `json:"box,omitempty"`     // tpm-sealed: nonce and encrypted PKCS#8
	Binding    []byte         `json:"binding,omitempty"` // file: what the key belongs to
	Clear      []byte         `json:"clear,omitempty"`   // file: PKCS#8
}

// Format implements fmt.Formatter for every verb.
func (k Key) Format(f fmt.State, _ rune) { printProtection(f, "key", k.Protection) }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// Secret is the stored form of a secret. It prints only its protection and name.
type Secret struct {
	Protection Protection     `json:"protection"`
	Name       string         `json:"name"`
	TPM        *hal.TPMObject `json:"tpm,omitempty"`   // tpm-sealed: the data key
	Box        []byte         `json:"box,omitempty"`   // tpm-sealed: nonce and encrypted secret
	Clear      []byte         `json:"clear,omitempty"` // file
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	printProtection(f, fmt.Sprintf("secret %q", s.Name), s.Protection)
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

func printProtection(f fmt.State, what string, p Protection) {
	_, _ = fmt.Fprintf(f, "%s (%.40s)", what, string(p))
}
