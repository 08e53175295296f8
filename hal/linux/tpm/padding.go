package tpm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
)

// digestInfo is the DER that precedes a digest (RFC 8017, 9.2, note 1).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

var errShortModulus = errors.New("the RSA key is too short for this signature")

// padPKCS1v15 is EMSA-PKCS1-v1_5 (RFC 8017, 9.2) for a modulus of size bytes.
func padPKCS1v15(digest []byte, hash crypto.Hash, size int) ([]byte, error) {
	info, ok := digestInfo[hash]
	if !ok {
		return nil, fmt.Errorf("signing with hash %v is not supported", hash)
	}
	fill := size - len(info) - len(digest) - 3
	if fill < 8 {
		return nil, errShortModulus
	}
	padded := make([]byte, 0, size)
	padded = append(padded, 0, 1)
	for range fill {
		padded = append(padded, 0xff)
	}
	padded = append(padded, 0)
	padded = append(padded, info...)
	return append(padded, digest...), nil
}

// padPSS is EMSA-PSS with MGF1 (RFC 8017, 9.1.1) for a modulus of size bytes
// whose top bit is set.
func padPSS(digest []byte, opts *rsa.PSSOptions, hash crypto.Hash, size int) ([]byte, error) {
	saltLength := opts.SaltLength
	if saltLength == rsa.PSSSaltLengthAuto || saltLength == rsa.PSSSaltLengthEqualsHash {
		// TLS accepts no other length (RFC 8446, 4.2.3).
		saltLength = hash.Size()
	}
	if saltLength < 0 {
		return nil, fmt.Errorf("PSS salt length %d is not supported", saltLength)
	}
	dbLength := size - hash.Size() - 1
	if dbLength < saltLength+2 {
		return nil, errShortModulus
	}
	padded := make([]byte, size)
	db, masked := padded[:dbLength], padded[dbLength:size-1]
	salt := db[dbLength-saltLength:]
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("generating a salt: %w", err)
	}
	h := hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	h.Sum(masked[:0])
	db[dbLength-saltLength-1] = 1
	xorMGF1(db, masked, hash)
	db[0] &= 0x7f
	padded[size-1] = 0xbc
	return padded, nil
}

// xorMGF1 XORs out with the mask MGF1(seed) (RFC 8017, B.2.1).
func xorMGF1(out, seed []byte, hash crypto.Hash) {
	var counter [4]byte
	for i := uint32(0); len(out) > 0; i++ {
		binary.BigEndian.PutUint32(counter[:], i)
		h := hash.New()
		h.Write(seed)
		h.Write(counter[:])
		mask := h.Sum(nil)
		n := min(len(mask), len(out))
		for j := range n {
			out[j] ^= mask[j]
		}
		out = out[n:]
	}
}
