package wire

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// ports returns the TCP ports that the relay listens on, and those of the servers that
// it connects to.
func (b *Box) ports() (listen, connect []uint16) {
	s := b.Settings
	for _, address := range slices.Concat(s.LAN.SMTP, s.LAN.SMTPS) {
		listen = append(listen, portOf(string(address)))
	}
	// The health check connects to the relay's own listeners.
	for _, address := range s.LAN.SMTP {
		connect = append(connect, portOf(string(address)))
	}
	connect = append(connect, b.upstreamPorts()...)
	const dns = 53
	if len(s.Upstream.DNS) == 0 {
		connect = append(connect, dns)
	}
	for _, server := range s.Upstream.DNS {
		connect = append(connect, server.Port())
	}
	if softwareTPM, isTCP := strings.CutPrefix(string(s.Keys.TPM), "tcp:"); isTCP {
		connect = append(connect, portOf(softwareTPM))
	}
	return listen, connect
}

// upstreamPorts returns the ports of the mail hosts, of the token endpoint, and of what
// says which TLS a mail host must have.
func (b *Box) upstreamPorts() []uint16 {
	s := b.Settings
	traits := s.Upstream.Method.Traits()
	var ports []uint16
	if traits.ClientCertificate {
		ports = append(ports, uint16(s.Upstream.Connector.Port))
	}
	if traits.Mailbox {
		ports = append(ports, uint16(s.Upstream.Submission.Port), s.Issuer().TokenURL.Port())
	}
	if traits.RecipientMX {
		const https = 443
		ports = append(ports, uint16(s.Upstream.Direct.Port), https)
		if server, _ := s.Upstream.Direct.Resolver.Server(); server.IsValid() {
			ports = append(ports, server.Port())
		}
	}
	return ports
}

// portOf returns the port in an address that the settings have checked.
func portOf(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}
