package oauth

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Token is a bearer token (RFC 6749 section 1.4, RFC 6750).
type Token struct {
	Bearer  Secret
	Expires time.Time // by our clock, with monotonic reading
}

// Grant obtains access tokens (RFC 6749 section 1.3).
type Grant interface {
	// Name returns the name of the credentials, for texts.
	Name() string
	// Token requests a token. The error is a *Fault, unless the context ended.
	Token(ctx context.Context) (Token, error)
}

// clientCredentials is the grant of RFC 6749 section 4.4: the box acts as
// itself.
type clientCredentials struct {
	issuer *Issuer
	name   string
	// credentials returns a secret, or request parameters.
	credentials func() (Secret, url.Values, error)
}

// ClientSecret returns the grant by a shared secret.
func (i *Issuer) ClientSecret(secret Secret) (Grant, error) {
	if secret.Empty() {
		return nil, errors.New("the client secret is empty: make one under Certificates & secrets of the app registration, and enter its value")
	}
	return &clientCredentials{i, "client secret", func() (Secret, url.Values, error) {
		return secret, nil, nil
	}}, nil
}

// Certificate returns the grant by an assertion (RFC 7523 section 2.2), signed
// with the RSA key of a certificate, in DER, that the issuer knows.
func (i *Issuer) Certificate(key crypto.Signer, leaf []byte, algorithm Algorithm) (Grant, error) {
	certificate, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate for the token issuer: %w", err)
	}
	public, isRSA := key.Public().(*rsa.PublicKey)
	if !isRSA {
		return nil, fmt.Errorf("the token issuer accepts only RSA keys, not %T: import an RSA certificate, or use a client secret", key.Public())
	}
	if !public.Equal(certificate.PublicKey) {
		return nil, errors.New("the certificate for the token issuer does not match its key: import the certificate again")
	}
	signer, err := newSigner(key, leaf, algorithm)
	if err != nil {
		return nil, err
	}
	return &clientCredentials{i, "certificate", func() (Secret, url.Values, error) {
		assertion, err := signer.assert(i.config.ClientID, i.config.Audience, time.Now())
		return Secret{}, url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {assertion.Reveal()},
		}, err
	}}, nil
}

func (c *clientCredentials) Name() string { return c.name }

func (c *clientCredentials) Token(ctx context.Context) (Token, error) {
	secret, params, err := c.credentials()
	if err != nil {
		return Token{}, &Fault{Kind: Configuration, Text: "using the key of the client certificate failed", Err: err}
	}
	config := clientcredentials.Config{
		ClientID: c.issuer.config.ClientID, ClientSecret: secret.Reveal(),
		TokenURL: c.issuer.config.TokenURL, Scopes: c.issuer.config.Scopes,
		EndpointParams: params, AuthStyle: oauth2.AuthStyleInParams,
	}
	x, ctx := c.issuer.exchange(ctx)
	x.application = true
	token, _, err := x.token(config.Token(ctx))
	return token, err
}
