// Package oauth obtains and keeps the access token by which a mail server
// knows the box.
//
// It knows OAuth 2.0 (RFC 6749, 6750, 7521, 7523, 8628) and how Entra ID
// answers. It must not know SMTP, where keys and secrets are kept, or the
// settings file. It writes no log: what happened is told to an Observer, and
// no secret is in anything it says.
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

// Config says whom to ask for tokens, and as whom.
type Config struct {
	TokenURL  string         // the token endpoint (RFC 6749, 3.2); HTTPS
	DeviceURL string         // the device authorization endpoint (RFC 8628, 3.1); HTTPS; only Login needs it
	ClientID  string         // the application's
	Audience  string         // whom an assertion is for (RFC 7523, 3); empty means TokenURL
	Scopes    []string       // what the token is for
	Roots     *x509.CertPool // nil means the system's
	Resolver  *net.Resolver  // nil means the system's
	Timeout   time.Duration  // of one request with its whole answer; zero means 30 s
}

const (
	defaultTimeout = 30 * time.Second
	maxHeader      = 32 << 10
)

// Issuer is the server that issues tokens. Connections are not kept: it is
// asked about once an hour.
type Issuer struct {
	config    Config
	host      string // for people
	transport http.RoundTripper
}

// New gives the issuer of a configuration. Nothing is asked yet.
func New(config Config) (*Issuer, error) {
	if config.ClientID == "" {
		return nil, errors.New("the client ID is missing: it is on the overview page of the app registration")
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
		// No Proxy: what an environment says would not show in the settings.
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

// public is the configuration of a client without a secret, as a box is that
// somebody signs in.
func (i *Issuer) public() *oauth2.Config {
	return &oauth2.Config{ClientID: i.config.ClientID, Scopes: i.config.Scopes, Endpoint: oauth2.Endpoint{
		TokenURL:      i.config.TokenURL,
		DeviceAuthURL: i.config.DeviceURL,
		AuthStyle:     oauth2.AuthStyleInParams,
	}}
}
