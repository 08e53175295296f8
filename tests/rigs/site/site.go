// Package site is a client's site and the tenant behind it, as a box finds them
// at the other end of its network cable: a name server, a time server, and a
// real Postfix that takes mail for a client certificate only.
//
// It knows names, addresses and certificates. It must not know the box. It
// takes the protocols' own ports, so the tests need a network of their own; see
// [Isolate].
package site

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"sealpost/tests/rigs/parts"
)

// What the site's name server knows. Host is where the box finds this machine.
const (
	Domain   = "contoso.com"
	MailHost = "mail.contoso.com"
	Host     = "10.0.2.2"
)

// timeServers are the public ones that a box asks by itself.
var timeServers = []string{"time.windows.com", "time.cloudflare.com", "time.nist.gov"}

// Site is a running site.
type Site struct {
	Authority *parts.Authority // vouches for the mail host and for the box
	PFX       []byte           // the box's certificate and key
	Password  string
	Postfix   *parts.Postfix
	Time      *parts.NTP

	dir  string
	name *parts.Dnsmasq
}

// Start starts a site in a folder of its own.
func Start() (_ *Site, err error) {
	s := &Site{Password: "correct horse"}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "site"); err != nil {
		return nil, err
	}
	// Postfix is not root's for long, and must get through.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.openTenant(); err != nil {
		return nil, fmt.Errorf("starting the tenant: %w", err)
	}
	records := []string{"mx-host=" + Domain + "," + MailHost + ",0", "host-record=" + MailHost + "," + Host}
	for _, server := range timeServers {
		records = append(records, "host-record="+server+","+Host)
	}
	if s.name, err = parts.NewDNS(records...); err != nil {
		return nil, err
	}
	s.Time, err = parts.NewNTP("127.0.0.1:123")
	return s, err
}

// openTenant starts the Postfix that knows the box's certificate.
func (s *Site) openTenant() (err error) {
	if s.Authority, err = parts.NewAuthority("Test CA"); err != nil {
		return err
	}
	server, err := s.Authority.IssueP256(nil, MailHost)
	if err != nil {
		return err
	}
	client, err := s.Authority.IssueP256(nil, "relay."+Domain)
	if err != nil {
		return err
	}
	// Of a private authority the box wants the root too.
	client.Certificate = append(client.Certificate, s.Authority.Certificate.Raw)
	if s.PFX, err = parts.PFX(client, s.Password); err != nil {
		return err
	}
	const smtp = 25
	s.Postfix, err = parts.NewPostfix(s.dir, parts.PostfixConfig{Certificate: server, ClientCA: s.Authority.Certificate,
		Clients: []*x509.Certificate{client.Leaf}, Port: smtp})
	return err
}

// Close ends everything.
func (s *Site) Close() error {
	var errs []error
	if s.Postfix != nil {
		errs = append(errs, s.Postfix.Close())
	}
	if s.name != nil {
		s.name.Close()
	}
	if s.Time != nil {
		errs = append(errs, s.Time.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
