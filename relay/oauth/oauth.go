// Package oauth obtains and renews the access token with which the box logs in
// to a mail server.
//
// It knows OAuth 2.0 (RFC 6749, 6750, 7521, 7523, 8628) and Entra ID's
// responses. It must not know SMTP, where keys and secrets are stored, or the
// settings file. It writes no log: an Observer receives each request, and
// nothing it receives contains a secret.
package oauth

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"
)

// Config is the configuration of a token issuer.
type Config struct {
	TokenURL  string         // token endpoint (RFC 6749 section 3.2); HTTPS
	DeviceURL string         // device authorization endpoint (RFC 8628 section 3.1); HTTPS; only for Login
	ClientID  string         // the application's
	Audience  string         // audience of assertions (RFC 7523 section 3); empty means TokenURL
	Scopes    []string       // requested scopes
	Roots     *x509.CertPool // nil means the system roots
	Resolver  *net.Resolver  // nil means the system's
	Timeout   time.Duration  // for one request and its response; zero means 30 s
}

const (
	defaultTimeout = 30 * time.Second
	maxHeader      = 32 << 10
)

// Issuer is the token server. Connections are not kept: there is about one
// request an hour.
type Issuer struct {
	config    Config
	host      string // for texts
	transport http.RoundTripper
}

// New returns the issuer of a configuration. It sends no request.
func New(config Config) (*Issuer, error) {
	if config.ClientID == "" {
		return nil, errors.New("missing client ID: it is on the overview page of the app registration")
	}
	host, err := checkURL("token", config.TokenURL)
	if err != nil {
		return nil, err
	}
	if config.DeviceURL != "" {
		if _, err := checkURL("device code", config.DeviceURL); err != nil {
			return nil, err
		}
	}
	config.Audience = cmp.Or(config.Audience, config.TokenURL)
	config.Timeout = cmp.Or(config.Timeout, defaultTimeout)
	dialer := &net.Dialer{Timeout: config.Timeout, Resolver: config.Resolver}
	return &Issuer{config: config, host: host, transport: &http.Transport{
		// No Proxy: one from the environment would not be visible in the settings.
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true,
		DisableCompression:     true,
	}}, nil
}

func checkURL(what, raw string) (host string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return "", fmt.Errorf("the %s URL must be of the form https://host/path: copy it from the endpoints of the app registration", what)
	}
	return u.Hostname(), nil
}

// public returns the configuration of a public client, as for device code
// sign-in.
func (i *Issuer) public() *oauth2.Config {
	return &oauth2.Config{ClientID: i.config.ClientID, Scopes: i.config.Scopes, Endpoint: oauth2.Endpoint{
		TokenURL:      i.config.TokenURL,
		DeviceAuthURL: i.config.DeviceURL,
		AuthStyle:     oauth2.AuthStyleInParams,
	}}
}
