package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

const password = "correct horse"

// sealpost is Sealpost with its state on the disk, its key in a software TPM, and a
// mock tenant.
type sealpost struct {
	title        string
	disk         *disk
	program      string
	dir          string // everything except the state; not on the disk
	tpm          *parts.Swtpm
	tenantConfig tenant.Config
	upstream     *tenant.Tenant // nil while down
	box          *box.Box
	relay        *box.Relay
	address      netip.AddrPort
}

// newSealpost creates the TPM and the certificates.
func newSealpost(title, program, dir string, d *disk) (*sealpost, error) {
	program, err := filepath.Abs(program)
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		return nil, fmt.Errorf("the program to measure is missing: run make dist/sealpost: %w", err)
	}
	s := &sealpost{title: title, disk: d, program: program, dir: dir}
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		return nil, err
	}
	certificate, err := authority.IssueP256(nil, "relay.contoso.com")
	if err != nil {
		return nil, err
	}
	certificate.Certificate = append(certificate.Certificate, authority.Certificate.Raw)
	pfx, err := parts.PFX(certificate, password)
	if err != nil {
		return nil, err
	}
	server, err := authority.IssueP256(nil, "localhost")
	if err != nil {
		return nil, err
	}
	s.tenantConfig = tenant.Config{Certificate: server, ClientCAs: authority.Pool(),
		AcceptedDomains: []string{"contoso.com"}, Connector: "relay.contoso.com"}
	if err := errors.Join(os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "relay.pfx"), pfx, 0o600),
		os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), authority.PEM(), 0o600)); err != nil {
		return nil, err
	}
	s.tpm, err = parts.NewSwtpm(filepath.Join(dir, "tpm"))
	return s, err
}

func (s *sealpost) name() string { return s.title }

func (s *sealpost) port() int { return int(s.address.Port()) }

func (s *sealpost) pid() int { return s.relay.PID() }

// start starts the relay with an empty ring.
func (s *sealpost) start(_ context.Context, healthy bool) error {
	host, port := host, closedPort
	if healthy {
		var err error
		if s.upstream, err = tenant.Start(s.tenantConfig); err != nil {
			return err
		}
		host, port = "localhost", s.upstream.Address().Port
	}
	var err error
	if s.box, err = box.New(s.program, s.dir, s.settings(host, port)); err != nil {
		return err
	}
	result, err := s.box.Run("certificate", "import", "--pfx", "relay.pfx", "--password-file", "password")
	if err != nil {
		return err
	}
	if result.Status != 0 {
		return fmt.Errorf("importing the certificate: %s", result.Err)
	}
	return s.resume()
}

// resume starts the relay with the state on the disk.
func (s *sealpost) resume() (err error) {
	if s.relay, err = s.box.StartRelay(); err != nil {
		return err
	}
	// A new box makes its keys for the LAN before it has started; it listens earlier.
	if err := errors.Join(s.relay.Await(`"event":"listening"`), s.relay.Await(`"event":"relay started"`)); err != nil {
		return err
	}
	s.address, err = netip.ParseAddrPort(fmt.Sprint(s.relay.Log.Events("listening")[0]["address"]))
	return err
}

// settings returns the defaults, except for the size of the ring and the limits of one
// client.
func (s *sealpost) settings(host string, port int) string {
	return fmt.Sprintf(`[lan]
smtp = ["127.0.0.1:0"]
smtps = []
allow = ["127.0.0.0/8"]
hostname = "relay.contoso.com"

[limits]
connections_per_client = 120

[senders]
accepted_domains = ["contoso.com"]

[upstream.connector]
host = %q
port = %d
ca_file = %q

[keys]
tpm = %q

[spool]
size = "1GiB"
client_share = 100

[state]
path = %q

[control]
socket = %q

[journal]
format = "json"
`, host, port, filepath.Join(s.dir, "ca.pem"), s.tpm.Address(), filepath.Join(s.disk.dir, "box.state"), filepath.Join(s.dir, "socket"))
}

// idle returns true: an accepted message is already delivered or in the spool.
func (s *sealpost) idle() (bool, error) { return true, nil }

func (s *sealpost) stop() error {
	var err error
	if s.relay != nil && s.relay.Running() {
		err = s.relay.Stop()
	}
	if s.upstream != nil {
		s.upstream.Close()
		s.upstream = nil
	}
	return err
}

func (s *sealpost) close() error { return errors.Join(s.stop(), s.tpm.Close()) }
