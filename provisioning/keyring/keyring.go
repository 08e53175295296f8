// Package keyring knows how a private key or a secret is protected on this
// box, and returns a signer or the secret.
//
// It sees only hal.TPM. It must not know files, settings or what a certificate
// says; a certificate is to it a binding, bytes that belong to a key.
package keyring

import (
	"fmt"
	"log/slog"

	"sealpost/hal"
)

// Protection is what keeps a key or a secret from being copied, as it is
// labelled in settings and reports.
type Protection string

// The protections, the strongest first.
const (
	TPMResident Protection = "tpm-resident"
	TPMSealed   Protection = "tpm-sealed"
	File        Protection = "file"
)

// Explain says in one clause for people what a protection of a key is worth.
func (p Protection) Explain() string {
	switch p {
	case TPMResident:
		return "it stays inside this box's TPM and cannot be copied out of the box; whoever holds the whole running box can still use it"
	case TPMSealed:
		return "the TPM cannot hold a key of this type, so it is stored encrypted: only this box's TPM can open it, but it lies in the clear in the box's memory while the box runs"
	case File:
		return "it is stored in the clear: whoever copies the box's storage has it"
	}
	return fmt.Sprintf("the protection %.40q is not known to this version of Sealpost", string(p))
}

// Key is the stored form of a private key. Printed it shows its protection and
// nothing else.
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

// Secret is the stored form of a secret. Printed it shows its protection and
// its name.
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
