// Package site provides what a box finds on its network: a name server, a time
// server, and as the tenant a real Postfix that requires a client certificate.
//
// It knows names, addresses and certificates. It must not know the box. It uses
// the standard ports, so the tests need their own network namespace; see
// [Isolate].
package site

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"sealpost/tests/rigs/parts"
)

// Names and addresses on the site. Host is this machine as the box sees it.
const (
	Domain   = "contoso.com"
	MailHost = "mail.contoso.com"
	Host     = "10.0.2.2"
)

// timeServers are the public time servers that a box uses by default.
var timeServers = []string{"time.windows.com", "time.cloudflare.com", "time.nist.gov"}

// Site is a running site.
type Site struct {
	Authority *parts.Authority // signs the certificates of the mail host and the box
	PFX       []byte           // the box's certificate and key
	Password  string
	Postfix   *parts.Postfix
	Time      *parts.NTP

	dir string
	dns *parts.Dnsmasq
}

// Start starts a site in a new folder.
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
	// Postfix drops root privileges and must be able to enter.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.startTenant(); err != nil {
		return nil, fmt.Errorf("starting the tenant: %w", err)
	}
	records := []string{"mx-host=" + Domain + "," + MailHost + ",0", "host-record=" + MailHost + "," + Host}
	for _, server := range timeServers {
		records = append(records, "host-record="+server+","+Host)
	}
	if s.dns, err = parts.NewDNS(records...); err != nil {
		return nil, err
	}
	s.Time, err = parts.NewNTP("127.0.0.1:123")
	return s, err
}

// startTenant starts the Postfix that accepts the box's certificate.
func (s *Site) startTenant() (err error) {
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
	// With a private authority, the box needs the root too.
	client.Certificate = append(client.Certificate, s.Authority.Certificate.Raw)
	if s.PFX, err = parts.PFX(client, s.Password); err != nil {
		return err
	}
	const smtp = 25
	s.Postfix, err = parts.NewPostfix(s.dir, parts.PostfixConfig{Certificate: server, ClientCA: s.Authority.Certificate,
		Clients: []*x509.Certificate{client.Leaf}, Port: smtp})
	return err
}

// Close stops all servers.
func (s *Site) Close() error {
	var errs []error
	if s.Postfix != nil {
		errs = append(errs, s.Postfix.Close())
	}
	if s.dns != nil {
		s.dns.Close()
	}
	if s.Time != nil {
		errs = append(errs, s.Time.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
