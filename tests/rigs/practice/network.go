package practice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containers/gvisor-tap-vsock/pkg/services/dhcp"
	"github.com/containers/gvisor-tap-vsock/pkg/services/dns"
	"github.com/containers/gvisor-tap-vsock/pkg/services/forwarder"
	"github.com/containers/gvisor-tap-vsock/pkg/tap"
	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	subnet     = "10.0.2.0/24"
	gatewayIP  = "10.0.2.2"
	boxIP      = "10.0.2.15"
	gatewayMAC = "52:55:0a:00:02:02"
	nic        = 1
	mtu        = 1500
)

// network is an Ethernet segment in this process: a gateway with DHCP and DNS,
// which forwards other packets to this machine's network.
type network struct {
	stack    *stack.Stack
	ports    *tap.Switch
	forwards *forwarder.PortsForwarder
}

// newNetwork starts a network. The box with that MAC gets boxIP, and its port
// 25 is smtpAddress on this machine. The gateway answers for all of virtualIPs.
func newNetwork(mac, smtpAddress string, virtualIPs []string) (*network, error) {
	// The library logs each packet that it cannot deliver.
	logrus.SetOutput(io.Discard)
	link, err := tap.NewLinkEndpoint(false, mtu, gatewayMAC, gatewayIP, virtualIPs)
	if err != nil {
		return nil, err
	}
	n := &network{ports: tap.NewSwitch(false)}
	link.Connect(n.ports)
	n.ports.Connect(link)
	if err := n.startStack(link, virtualIPs); err != nil {
		return nil, fmt.Errorf("starting the network stack: %w", err)
	}
	if err := n.startDNS(); err != nil {
		return nil, fmt.Errorf("starting the name server: %w", err)
	}
	if err := n.startDHCP(mac); err != nil {
		return nil, fmt.Errorf("starting the DHCP server: %w", err)
	}
	n.forwards = forwarder.NewPortsForwarder(n.stack)
	if err := n.forwards.Expose(types.TCP, smtpAddress, boxIP+":25"); err != nil {
		return nil, fmt.Errorf("listening on %s for the box's port 25: %w", smtpAddress, err)
	}
	return n, nil
}

// startStack starts the gateway's TCP/IP.
func (n *network) startStack(link stack.LinkEndpoint, virtualIPs []string) error {
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := n.stack.CreateNIC(nic, link); err != nil {
		return errors.New(err.String())
	}
	for _, ip := range append(virtualIPs, gatewayIP) {
		protocolAddress := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address(ip, 0).Addr.WithPrefix()}
		if err := n.stack.AddProtocolAddress(nic, protocolAddress, stack.AddressProperties{}); err != nil {
			return errors.New(err.String())
		}
	}
	// The gateway accepts packets for every address and replies from it.
	n.stack.SetSpoofing(nic, true)
	n.stack.SetPromiscuousMode(nic, true)
	_, segment, err := net.ParseCIDR(subnet)
	if err != nil {
		return err
	}
	local, err := tcpip.NewSubnet(tcpip.AddrFromSlice(segment.IP), tcpip.MaskFromBytes(segment.Mask))
	if err != nil {
		return err
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: local, NIC: nic}})
	var lock sync.Mutex
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.TCP(n.stack, nil, &lock, false).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, forwarder.UDP(n.stack, nil, &lock, false).HandlePacket)
	return nil
}

func (n *network) startDNS() error {
	packets, err := n.listenUDP(gatewayIP, 53)
	if err != nil {
		return err
	}
	listener, err := n.listenTCP(gatewayIP, 53)
	if err != nil {
		return err
	}
	server, err := dns.NewWithUpstreamResolver(packets, listener, nil, names{net.DefaultResolver})
	if err != nil {
		return err
	}
	go func() { _ = server.Serve() }()
	go func() { _ = server.ServeTCP() }()
	return nil
}

func (n *network) startDHCP(mac string) error {
	_, segment, err := net.ParseCIDR(subnet)
	if err != nil {
		return err
	}
	pool := tap.NewIPPool(segment)
	pool.Reserve(net.ParseIP(gatewayIP), gatewayMAC)
	pool.Reserve(net.ParseIP(boxIP), mac)
	server, err := dhcp.New(&types.Configuration{Subnet: subnet, GatewayIP: gatewayIP, MTU: mtu}, n.stack, pool)
	if err != nil {
		return err
	}
	go func() { _ = server.Serve() }()
	return nil
}

// accept connects a QEMU to the network until it closes conn.
func (n *network) accept(ctx context.Context, conn net.Conn) {
	_ = n.ports.Accept(ctx, conn, types.QemuProtocol)
}

func (n *network) listenTCP(ip string, port uint16) (net.Listener, error) {
	return gonet.ListenTCP(n.stack, address(ip, port), ipv4.ProtocolNumber)
}

func (n *network) listenUDP(ip string, port uint16) (net.PacketConn, error) {
	local := address(ip, port)
	return gonet.DialUDP(n.stack, &local, nil, ipv4.ProtocolNumber)
}

// close ends the port forwarding and every connection and server of the stack.
func (n *network) close(smtpAddress string) error {
	err := n.forwards.Unexpose(types.TCP, smtpAddress)
	n.stack.Close()
	return err
}

func address(ip string, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4Slice(net.ParseIP(ip).To4()), Port: port}
}
