package oauth

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// Algorithm is the signature algorithm of an assertion (RFC 7518 section 3.1).
type Algorithm string

// The algorithms for RSA keys.
const (
	PS256 Algorithm = "PS256" // required by Entra ID
	RS256 Algorithm = "RS256" // for AD FS and older servers
)

// assertionLife is the maximum that Entra ID recommends.
const assertionLife = 10 * time.Minute

// signer creates assertions as signed JWTs (RFC 7515, 7519, 7523).
type signer struct {
	key     crypto.Signer
	options crypto.SignerOpts
	header  string
}

func newSigner(key crypto.Signer, leaf []byte, algorithm Algorithm) (*signer, error) {
	type header struct {
		Algorithm Algorithm `json:"alg"`
		Type      string    `json:"typ"`
		SHA1      string    `json:"x5t,omitempty"`
		SHA256    string    `json:"x5t#S256"`
	}
	thumbprint := sha256.Sum256(leaf)
	h := header{Algorithm: algorithm, Type: "JWT", SHA256: encode(thumbprint[:])}
	s := &signer{key: key}
	switch algorithm {
	case PS256:
		// RFC 7518 section 3.5: the salt is as long as the hash.
		s.options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case RS256:
		s.options = crypto.SHA256
		// A server without PS256 may not support x5t#S256.
		old := sha1.Sum(leaf)
		h.SHA1 = encode(old[:])
	default:
		return nil, fmt.Errorf("unsupported assertion algorithm %q: use PS256 or RS256", algorithm)
	}
	var err error
	s.header, err = encodeJSON(h)
	return s, err
}

// assert returns an assertion of the client's identity for one audience, valid
// for a short time (RFC 7523 section 3).
func (s *signer) assert(client, audience string, now time.Time) (Secret, error) {
	claims, err := encodeJSON(struct {
		Audience  string `json:"aud"`
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		ID        string `json:"jti"`
		IssuedAt  int64  `json:"iat"`
		NotBefore int64  `json:"nbf"`
		Expires   int64  `json:"exp"`
	}{audience, client, client, rand.Text(), now.Unix(), now.Unix(), now.Add(assertionLife).Unix()})
	if err != nil {
		return Secret{}, err
	}
	signed := s.header + "." + claims
	digest := sha256.Sum256([]byte(signed))
	signature, err := s.key.Sign(rand.Reader, digest[:], s.options)
	if err != nil {
		return Secret{}, fmt.Errorf("signing an assertion: %w", err)
	}
	return NewSecret(signed + "." + encode(signature)), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encodeJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return encode(text), err
}
