package certificate

import (
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// The object identifiers of RFC 7292, RFC 5652 and RFC 8018 that are needed to
// parse a PFX.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidKeyBag     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShrouded   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidCertBag    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidPBMAC1     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
)

// contentInfo, bag and the types below are those of RFC 7292, section 4.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// bag has no attributes: names and identifiers are not needed, and the decoder
// rejects those it does not know.
type bag struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"explicit,tag:0"`
}

type macData struct {
	Mac struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	Salt       []byte
	Iterations int
}

// pfxContent is the content of a PFX.
type pfxContent struct {
	certificates Certificates
	keys         []any
}

// verified reports whether the decoder's error is one that it returns only after
// it has verified the MAC, and that [readSafes] can do something about: more than
// two safes, or a certificate that cannot be parsed.
func verified(err error) bool {
	_, unsupported := errors.AsType[pkcs12.NotImplementedError](err)
	return unsupported && strings.Contains(err.Error(), "items in the authenticated safe") || strings.HasPrefix(err.Error(), "x509: ")
}

// readSafes reads the safes of a PFX one by one. The caller has had its MAC
// verified with the same password.
func readSafes(data []byte, password string) (pfxContent, error) {
	var found pfxContent
	var pfx struct {
		Version  int
		AuthSafe contentInfo
	}
	if _, err := asn1.Unmarshal(data, &pfx); err != nil {
		return found, err
	}
	var authenticated []byte
	if _, err := asn1.Unmarshal(pfx.AuthSafe.Content.Bytes, &authenticated); err != nil {
		return found, err
	}
	var safes []asn1.RawValue
	if _, err := asn1.Unmarshal(authenticated, &safes); err != nil {
		return found, err
	}
	for _, safe := range safes {
		var info contentInfo
		if _, err := asn1.Unmarshal(safe.FullBytes, &info); err != nil {
			return found, err
		}
		read := found.decrypt
		if info.Type.Equal(oidData) {
			read = found.readBags
			safe = info.Content
		}
		if err := read(safe, password); err != nil {
			return found, err
		}
	}
	return found, nil
}

// readBags reads a safe that is not encrypted as a whole.
func (c *pfxContent) readBags(content asn1.RawValue, password string) error {
	var octets []byte
	if _, err := asn1.Unmarshal(content.Bytes, &octets); err != nil {
		return err
	}
	var bags []bag
	if _, err := asn1.Unmarshal(octets, &bags); err != nil {
		return err
	}
	for _, b := range bags {
		switch {
		case b.Type.Equal(oidCertBag):
			var cert struct {
				Type asn1.ObjectIdentifier
				DER  []byte `asn1:"explicit,tag:0"`
			}
			if _, err := asn1.Unmarshal(b.Value.Bytes, &cert); err != nil {
				return err
			}
			c.certificates.add(cert.DER)
		case b.Type.Equal(oidKeyBag):
			key, err := x509.ParsePKCS8PrivateKey(b.Value.Bytes)
			if err != nil {
				return errKeyUnknown
			}
			c.keys = append(c.keys, key)
		case b.Type.Equal(oidShrouded):
			safe, err := dataSafe([]bag{b})
			if err != nil {
				return err
			}
			if err := c.decrypt(asn1.RawValue{FullBytes: safe}, password); err != nil {
				return err
			}
		}
	}
	return nil
}

// decrypt has the decoder read one safe, in a PFX made for it.
func (c *pfxContent) decrypt(safe asn1.RawValue, password string) error {
	pfx, err := wrapSafe(safe.FullBytes, password)
	if err != nil {
		return err
	}
	// Only this function returns certificates that cannot be parsed. It is
	// deprecated for the form of its keys, which is known here.
	//lint:ignore SA1019 see above
	blocks, err := pkcs12.ToPEM(pfx, password)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		if block.Type == "CERTIFICATE" {
			c.certificates.add(block.Bytes)
			continue
		}
		var key crypto.Signer
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			key, err = x509.ParseECPrivateKey(block.Bytes)
		}
		clear(block.Bytes)
		if err != nil {
			return errKeyUnknown
		}
		c.keys = append(c.keys, key)
	}
	return nil
}

// dataSafe encodes bags as a safe of the type data.
func dataSafe(bags []bag) ([]byte, error) {
	inner, err := asn1.Marshal(bags)
	if err != nil {
		return nil, err
	}
	return encodeContent(inner)
}

func encodeContent(octets []byte) ([]byte, error) {
	content, err := asn1.Marshal(octets)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(contentInfo{oidData, explicit(content)})
}

func explicit(der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der}
}

// wrapSafe makes a PFX of one safe and an empty one, since the decoder requires two. Its MAC
// (PBMAC1, RFC 9579) only satisfies the decoder: it is of bytes whose own MAC has
// been verified, and stays in memory.
func wrapSafe(safe []byte, password string) ([]byte, error) {
	const iterations, keyLength = 1, sha256.Size
	salt := []byte("the decoder requires a MAC")
	empty, err := dataSafe([]bag{})
	if err != nil {
		return nil, err
	}
	authenticated, err := asn1.Marshal([]asn1.RawValue{{FullBytes: safe}, {FullBytes: empty}})
	if err != nil {
		return nil, err
	}
	authSafe, err := encodeContent(authenticated)
	if err != nil {
		return nil, err
	}
	// The decoder derives the key from the runes of the password.
	key, err := pbkdf2.Key(sha256.New, string([]rune(password)), salt, iterations, keyLength)
	if err != nil {
		return nil, fmt.Errorf("deriving a key for one safe: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(authenticated)
	prf := pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256}
	kdf, err := asn1.Marshal(struct {
		Salt                  []byte
		Iterations, KeyLength int
		PRF                   pkix.AlgorithmIdentifier
	}{salt, iterations, keyLength, prf})
	if err != nil {
		return nil, err
	}
	parameters, err := asn1.Marshal([]pkix.AlgorithmIdentifier{{Algorithm: oidPBKDF2, Parameters: asn1.RawValue{FullBytes: kdf}}, prf})
	if err != nil {
		return nil, err
	}
	m := macData{Salt: salt, Iterations: iterations}
	m.Mac.Algorithm = pkix.AlgorithmIdentifier{Algorithm: oidPBMAC1, Parameters: asn1.RawValue{FullBytes: parameters}}
	m.Mac.Digest = mac.Sum(nil)
	return asn1.Marshal(struct {
		Version  int
		AuthSafe asn1.RawValue
		MacData  macData
	}{3, asn1.RawValue{FullBytes: authSafe}, m})
}
