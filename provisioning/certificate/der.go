package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// Limits of the processor time for a file, as far as its unencrypted parts show
// it: together about ten seconds on a Raspberry Pi, and twice that where [readSafes]
// decrypts a file again.
const (
	// maxIterations is the maximum of key derivation iterations; common exports use
	// 2,000 to 600,000.
	maxIterations = 10_000_000
	// maxKeySize is the largest private key, in bytes; RSA-4096 has 2,400.
	maxKeySize = 16 << 10
)

var (
	errBER        = errors.New("this PFX is BER-encoded, which the box cannot read: import it on a Windows machine and export it again from there, or " + convert)
	errNotPFX     = errors.New("this is not a PFX: choose the file that was exported with its private key, usually named .pfx or .p12")
	errIterations = fmt.Errorf("this PFX needs more than %d iterations of key derivation: export it again with the default settings, or %s", maxIterations, convert)
	errKeySize    = fmt.Errorf("this PFX contains a private key of more than %d KiB: %s", maxKeySize>>10, keyTypeAdvice)
)

// checkPFX checks what is visible without the password, and rejects a file that
// would take minutes of processor time.
func checkPFX(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("the file is empty: copy it again")
	case len(data) > MaxInput:
		return fmt.Errorf("the file is larger than %d KiB, so it is not a PFX for one certificate: export only the certificate for the box and its chain", MaxInput>>10)
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return errors.New("this is PEM text and not a PFX: export certificate and private key together as PKCS #12 (.pfx)")
	case bytes.HasPrefix(data, []byte{0x30, 0x80}):
		return errBER
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return errors.New("this is a certificate without a private key: export it again as PKCS #12 (.pfx), with the private key")
	}
	length, err := derLength(data)
	if err != nil {
		return err
	}
	if length > len(data) {
		return fmt.Errorf("this PFX is truncated, %d of %d bytes: copy it again", len(data), length)
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil {
		return errNotPFX
	}
	// Every PFX is of version 3 (RFC 7292, 4).
	if !bytes.HasPrefix(outer.Bytes, []byte{asn1.TagInteger, 1, 3}) {
		return errNotPFX
	}
	var c cost
	c.add(data, 0)
	switch {
	case c.iterations.Cmp(big.NewInt(maxIterations)) > 0:
		return errIterations
	case c.largest > maxKeySize:
		return errKeySize
	}
	return nil
}

// derLength returns the length of the outermost SEQUENCE, including its header.
func derLength(data []byte) (int, error) {
	if data[0] != 0x30 {
		return 0, errNotPFX
	}
	if len(data) < 6 {
		return 0, fmt.Errorf("this PFX is truncated after %d bytes: copy it again", len(data))
	}
	if data[1] < 0x80 {
		return 2 + int(data[1]), nil
	}
	octets := int(data[1] & 0x7f)
	if octets > 3 {
		return 0, errNotPFX
	}
	length := 0
	for _, b := range data[2 : 2+octets] {
		length = length<<8 | int(b)
	}
	return 2 + octets + length, nil
}

// cost is the work of opening a file.
type cost struct {
	iterations big.Int // the sum of the iteration counts
	largest    int     // size of the largest number, or string that may hold one
}

// add adds the cost of der. Wherever PKCS #12 or PKCS #5 has an iteration count,
// and nowhere else in a PFX, it is an INTEGER directly after the salt, an OCTET
// STRING.
func (c *cost) add(der []byte, depth int) {
	// The decoder reads no deeper than this.
	const maxDepth = 32
	afterSalt := false
	for len(der) > 0 && depth < maxDepth {
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(der, &value)
		if err != nil {
			return
		}
		isUniversal := value.Class == asn1.ClassUniversal
		switch {
		case value.IsCompound || holdsSequence(value):
			c.add(value.Bytes, depth+1)
		case isUniversal && (value.Tag == asn1.TagInteger || value.Tag == asn1.TagOctetString):
			c.largest = max(c.largest, len(value.Bytes))
			if afterSalt && value.Tag == asn1.TagInteger && len(value.Bytes) > 0 && value.Bytes[0] < 0x80 {
				c.iterations.Add(&c.iterations, new(big.Int).SetBytes(value.Bytes))
			}
		}
		// The decoder of PBKDF2 salts looks at the tag and not at the class.
		afterSalt = value.Tag == asn1.TagOctetString
		der = rest
	}
}

// holdsSequence reports whether an OCTET STRING contains DER.
func holdsSequence(value asn1.RawValue) bool {
	if value.Class != asn1.ClassUniversal || value.Tag != asn1.TagOctetString {
		return false
	}
	var inner asn1.RawValue
	rest, err := asn1.Unmarshal(value.Bytes, &inner)
	return err == nil && len(rest) == 0 && inner.Tag == asn1.TagSequence
}
