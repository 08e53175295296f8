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

// inside runs do with its thread in a namespace, where the sockets that it
// opens stay, and gives what it gave.
func inside(namespace string, do func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := enter(namespace); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return done
}

func enter(namespace string) error {
	handle, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	return unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
}

// serve answers the box's DHCP messages on the LAN as answer says; nil is
// silence.
func (s *site) serve(answer func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4) {
	s.t.Helper()
	handle := func(conn net.PacketConn, peer net.Addr, request *dhcpv4.DHCPv4) {
		reply := answer(request)
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
	err := <-inside(s.lan, func() (err error) {
		server, err = server4.NewServer("lan0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, handle, server4.WithLogger(silence{}))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve()
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

type silence struct{}

func (silence) PrintMessage(string, *dhcpv4.DHCPv4) {}
func (silence) Printf(string, ...any)               {}

// grant answers a request with an offer or an acknowledgement of this address
// in a subnet of length 24, from the router and server given.
func grant(request *dhcpv4.DHCPv4, address, router string, life time.Duration, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
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
		dhcpv4.WithLeaseTime(uint32(life / time.Second)),
	}, more...)...)
}

func refuse(request *dhcpv4.DHCPv4, server string) *dhcpv4.DHCPv4 {
	return reply(request, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server))))
}

func reply(request *dhcpv4.DHCPv4, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	message, err := dhcpv4.NewReplyFromRequest(request, modifiers...)
	if err != nil {
		panic(err)
	}
	return message
}
