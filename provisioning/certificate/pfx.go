// Package certificate reads PKCS #12 and PEM, creates certificate requests, and
// reports what would prevent Exchange Online from accepting a certificate.
//
// It knows bytes, certificates and keys in memory. It must not use disks, TPMs,
// the network or the clock: the time is a parameter.
package certificate

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"sealpost/hal/printable"
)

// MaxInput is the largest PFX or PEM text that is read, in bytes.
const MaxInput = 1 << 20

// Bundle is the content of a PFX. It prints without its key.
type Bundle struct {
	Path
	// Leaf is the certificate of Key, the first of the chain.
	Leaf *x509.Certificate
	// Key is of one of the types in hal; see [WipeKey].
	Key crypto.Signer
}

func (b Bundle) String() string {
	if b.Leaf == nil {
		return "empty bundle"
	}
	return fmt.Sprintf("bundle for %s: a chain of %d, %d extra, private key not shown",
		printable.Line(b.Leaf.Subject.String()), len(b.Chain), len(b.Extra))
}

// GoString keeps %#v from printing the key.
func (b Bundle) GoString() string { return b.String() }

// LogValue keeps slog from printing the key.
func (b Bundle) LogValue() slog.Value { return slog.StringValue(b.String()) }

// ErrPassword is the error for a wrong password.
var ErrPassword = errors.New("the password does not open this PFX: ask whoever exported it for the password, and check upper and lower case")

// convert tells how to rewrite a PFX with OpenSSL in a form that the box reads.
const convert = "convert it with OpenSSL: openssl pkcs12 -legacy -in OLD.pfx -out all.pem, then openssl pkcs12 -export -in all.pem -out NEW.pfx"

var (
	errNoKey      = errors.New("this PFX contains certificates but no private key: export it again with the private key")
	errTwoKeys    = errors.New("this PFX contains more than one private key: export only the certificate for the box")
	errNoCert     = errors.New("this PFX contains a private key but no certificate: export the certificate together with its key")
	errNoMAC      = errors.New("this PFX has no integrity check: export it again with a password and without the option -nomac")
	errKeyUnknown = errors.New("the private key in this PFX is of a type the box cannot use: " + keyTypeAdvice)
	errCharacters = errors.New("the password contains characters that a PFX does not support: export the PFX again with a password of letters and digits")
)

// ParsePFX opens a PKCS #12 file (RFC 7292) of at most [MaxInput] bytes. Every
// error is a sentence for the technician; none contains the password or a key.
// Files that would take too much processor time are rejected first, as far as
// their unencrypted parts show it.
func ParsePFX(data []byte, password string) (Bundle, error) {
	if block, _ := pem.Decode(UTF8(data)); block != nil && block.Type == "PKCS12" {
		data = block.Bytes // as certtool writes it by default
	}
	if err := checkPFX(data); err != nil {
		return Bundle{}, err
	}
	content, err := open(data, password)
	if err != nil {
		return Bundle{}, explain(err)
	}
	switch {
	case len(content.certificates.Parsed)+len(content.certificates.unreadable) == 0:
		return Bundle{}, errNoCert
	case len(content.keys) == 0:
		return Bundle{}, errNoKey
	case len(content.keys) > 1:
		return Bundle{}, errTwoKeys
	}
	signer, ok := content.keys[0].(crypto.Signer)
	if !ok {
		return Bundle{}, errKeyUnknown
	}
	if _, err := KeyType(signer.Public()); err != nil {
		return Bundle{}, err
	}
	path, err := content.certificates.Order(signer.Public())
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{Path: path, Leaf: path.Chain[0], Key: signer}, nil
}

// open decrypts a PFX.
func open(data []byte, password string) (pfxContent, error) {
	key, first, others, err := pkcs12.DecodeChain(data, password)
	switch {
	case err == nil:
		return pfxContent{Certificates{Parsed: append([]*x509.Certificate{first}, others...)}, []any{key}}, nil
	case verified(err):
		return readSafes(data, password)
	}
	return pfxContent{}, err
}

// explain turns an error of the decoder into what the technician should do. The
// decoder reports most causes as text only.
func explain(err error) error {
	if errors.Is(err, errKeyUnknown) {
		return err
	}
	if errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption) ||
		strings.Contains(err.Error(), pkcs12.ErrDecryption.Error()) {
		return ErrPassword
	}
	if unsupported, ok := errors.AsType[pkcs12.NotImplementedError](err); ok {
		return fmt.Errorf("this PFX uses something the box cannot read (%s): export it again with a password, as TripleDES-SHA1 or AES256-SHA256, or %s", printable.Line(string(unsupported)), convert)
	}
	for _, known := range []struct {
		text  string
		cause error
	}{
		{"private key missing", errNoKey},
		{"exactly one key bag", errTwoKeys},
		{"certificate missing", errNoCert},
		{"no MAC in data", errNoMAC},
		{"parsing PKCS#8 private key", errKeyUnknown},
		{"unknown private key type", errKeyUnknown},
		{"cannot be encoded in UCS-2", errCharacters},
		{"indefinite length", errBER},
	} {
		if strings.Contains(err.Error(), known.text) {
			return known.cause
		}
	}
	return fmt.Errorf("this PFX is damaged or unusual (%s): copy it again, or %s", printable.Line(err.Error()), convert)
}
