// Package practice is the site of make boot: a network with a name server, and a
// tenant that accepts the box's mail.
//
// It knows names, addresses and certificates, and runs without root. It must
// not know the box.
package practice

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// The practice tenant.
const (
	Domain   = "practice.example"
	MailHost = "mail." + Domain

	tenantIP = "10.0.2.25"
)

// Site is the running network and tenant.
type Site struct {
	Files  Files
	Tenant *tenant.Tenant

	smtpAddress string
	network     *network
	time        *parts.NTP
	socket      net.Listener
	cancel      context.CancelFunc
	served      chan struct{} // closed when no QEMU is connected any more
}

// Start starts a site whose certificates are in dir; it creates them if they
// do not exist. mac is the hardware address of the box. The box's port 25 can be reached
// at smtpAddress.
func Start(dir, mac, smtpAddress string) (_ *Site, err error) {
	s := &Site{smtpAddress: smtpAddress, served: make(chan struct{})}
	if s.Files, err = loadFiles(dir); err != nil {
		return nil, fmt.Errorf("loading the practice files: %w", err)
	}
	if s.network, err = newNetwork(mac, smtpAddress, []string{tenantIP}); err != nil {
		return nil, fmt.Errorf("starting the practice network: %w", err)
	}
	if err := s.startTenant(); err != nil {
		return nil, fmt.Errorf("starting the practice tenant: %w", err)
	}
	packets, err := s.network.listenUDP(tenantIP, 123)
	if err != nil {
		return nil, fmt.Errorf("starting the practice time server: %w", err)
	}
	s.time = parts.ServeNTP(packets)
	path := filepath.Join(dir, "network")
	_ = os.Remove(path) // left by a run that was killed
	if s.socket, err = net.Listen("unix", path); err != nil {
		return nil, fmt.Errorf("opening the practice network's socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.serve(ctx)
	return s, nil
}

func (s *Site) startTenant() error {
	listener, err := s.network.listenTCP(tenantIP, 25)
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.Files.Authority)
	s.Tenant, err = tenant.Start(tenant.Config{Listener: listener, Certificate: s.Files.server, ClientCAs: clients,
		AcceptedDomains: []string{Domain}, Connector: clientName})
	return err
}

// serve connects each QEMU that dials the socket to the network.
func (s *Site) serve(ctx context.Context) {
	defer close(s.served)
	for {
		conn, err := s.socket.Accept()
		if err != nil {
			return
		}
		s.network.accept(ctx, conn)
		_ = conn.Close()
	}
}

// TimeRequests returns how often the box has asked for the time.
func (s *Site) TimeRequests() int64 { return s.time.Answered() }

// Socket returns the Unix socket that QEMU's network device connects to.
func (s *Site) Socket() string { return s.socket.Addr().String() }

// Close stops the tenant and the network. The box must be switched off.
func (s *Site) Close() error {
	s.cancel()
	err := s.socket.Close()
	<-s.served
	s.Tenant.Close()
	return errors.Join(err, s.time.Close(), s.network.close(s.smtpAddress))
}
