package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"sync"

	"sealpost/hal"
)

const keyTypeAdvice = "get a certificate for an RSA-2048, RSA-3072, RSA-4096, P-256 or P-384 key"

// KeyType returns the type of a public key. Its error is for the technician.
func KeyType(pub crypto.PublicKey) (hal.KeyType, error) {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		switch t := hal.KeyType(fmt.Sprintf("RSA-%d", key.N.BitLen())); t {
		case hal.RSA2048, hal.RSA3072, hal.RSA4096:
			return t, nil
		default:
			return "", fmt.Errorf("the key is %s, which the box cannot use: %s", t, keyTypeAdvice)
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return hal.ECDSAP256, nil
		case elliptic.P384():
			return hal.ECDSAP384, nil
		}
		return "", fmt.Errorf("the key is on the curve %s, which the box cannot use: %s", key.Curve.Params().Name, keyTypeAdvice)
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", pub), "*"), ".PublicKey")
	return "", fmt.Errorf("the key is of the type %s, which the box cannot use: %s", kind, keyTypeAdvice)
}

// hostName matches a DNS name in a certificate, or a wildcard. It is compiled at
// its first use, because that slows down the start of a small board.
var hostName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
})

// Request makes a PKCS #10 request (RFC 2986) in PEM; the first name also becomes
// the common name. It only needs a signer, so the key may stay in a TPM.
func Request(signer crypto.Signer, names []string) ([]byte, error) {
	if err := CheckNames(names); err != nil {
		return nil, err
	}
	var request x509.CertificateRequest
	for _, name := range names {
		request.DNSNames = append(request.DNSNames, strings.ToLower(name))
	}
	// A common name has at most 64 characters (RFC 5280, appendix A).
	if len(request.DNSNames[0]) <= 64 {
		request.Subject = pkix.Name{CommonName: request.DNSNames[0]}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &request, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// CheckNames rejects names that a request cannot have.
func CheckNames(names []string) error {
	if len(names) == 0 {
		return errors.New("a request needs at least one name, such as relay.contoso.com")
	}
	for _, name := range names {
		if len(name) > 253 || !hostName().MatchString(strings.ToLower(name)) {
			return fmt.Errorf("%q cannot be the name in a certificate: write one like relay.contoso.com", name)
		}
	}
	return nil
}

// WipeKey overwrites the private numbers of an RSA or ECDSA key as far as Go
// allows. It cannot reach copies inside the standard library or from the PFX
// decoder, and memory that the garbage collector has not reused yet. The key is
// unusable afterwards. Other signers are left unchanged.
func WipeKey(key crypto.Signer) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		wipe(k.D, k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv)
		wipe(k.Primes...)
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 the number itself must be overwritten
		wipe(k.D)
	}
}

func wipe(numbers ...*big.Int) {
	for _, n := range numbers {
		if n != nil {
			words := n.Bits()
			clear(words[:cap(words)])
			n.SetInt64(0)
		}
	}
}
