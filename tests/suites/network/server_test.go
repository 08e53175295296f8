package networktest

import (
	"net"
	"os"
	"runtime"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"golang.org/x/sys/unix"
)

// inNamespace runs do on a thread in a network namespace and returns its error. Sockets
// that do opens stay in the namespace.
func inNamespace(namespace string, do func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := enterNamespace(namespace); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return done
}

func enterNamespace(namespace string) error {
	handle, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	return unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
}

// serve starts a DHCP server on the LAN. respond returns a reply, or nil for none.
func (s *site) serve(respond func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4) {
	s.t.Helper()
	handle := func(conn net.PacketConn, peer net.Addr, request *dhcpv4.DHCPv4) {
		reply := respond(request)
		if reply == nil {
			return
		}
		to := peer.(*net.UDPAddr)
		if to.IP.IsUnspecified() {
			to = &net.UDPAddr{IP: net.IPv4bcast, Port: to.Port}
		}
		_, _ = conn.WriteTo(reply.ToBytes(), to)
	}
	var server *server4.Server
	err := <-inNamespace(s.lan, func() (err error) {
		server, err = server4.NewServer("lan0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, handle, server4.WithLogger(noLogger{}))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve()
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

type noLogger struct{}

func (noLogger) PrintMessage(string, *dhcpv4.DHCPv4) {}
func (noLogger) Printf(string, ...any)               {}

// offerOrAck returns a DHCPOFFER or DHCPACK of this address in a /24, from a server
// that is also the router.
func offerOrAck(request *dhcpv4.DHCPv4, address, router string, leaseTime time.Duration, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	kind := dhcpv4.MessageTypeAck
	if request.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	return reply(request, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(net.ParseIP(address)),
		dhcpv4.WithServerIP(net.ParseIP(router)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(router))),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.ParseIP(router))),
		dhcpv4.WithOption(dhcpv4.OptDNS(net.ParseIP(router))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(uint32(leaseTime / time.Second)),
	}, more...)...)
}

func nak(request *dhcpv4.DHCPv4, server string) *dhcpv4.DHCPv4 {
	return reply(request, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server))))
}

func reply(request *dhcpv4.DHCPv4, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	message, err := dhcpv4.NewReplyFromRequest(request, modifiers...)
	if err != nil {
		panic(err)
	}
	return message
}
