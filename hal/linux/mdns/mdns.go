//go:build linux

// Package mdns answers for one name of the domain local on one interface
// (RFC 6762), so that a technician finds the box as sealpost.local.
//
// It answers sources on the link, at a limited rate. It knows multicast queries and
// responses. It must not know where the box's addresses come from. It sends no queries
// and does not probe for its name: another device with the same name keeps responding
// too.
package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	port = 5353
	// maxMessage is the size of a message in octets (RFC 6762, section 17).
	maxMessage = 9000
	// minInterval is the shortest time between two multicasts of one record (RFC
	// 6762, section 6).
	minInterval = time.Second
	// hopLimit shows that a message was sent on this link (RFC 6762, section 11).
	hopLimit = 255
)

// Run answers queries for the current result of name, such as "sealpost", on the
// interface of that name with the newest list from the channel addresses, and
// announces each list. It returns nil when ctx ends, and an error if the interface
// cannot be used or is gone; it does not read addresses then.
func Run(ctx context.Context, interfaceName string, name func() string, addresses <-chan []netip.Prefix) error {
	link, err := net.InterfaceByName(interfaceName)
	if err != nil {
		return fmt.Errorf("answering for names on %s: %w", interfaceName, err)
	}
	socket4, err := listen4(ctx, link)
	if err != nil {
		return err
	}
	sockets := []*responderSocket{socket4}
	// Without IPv6 in the kernel, IPv4 alone is served.
	if socket6, err := listen6(ctx, link); err == nil {
		sockets = append(sockets, socket6)
	}
	return serve(ctx, sockets, &responder{name: name}, addresses)
}

func serve(ctx context.Context, sockets []*responderSocket, r *responder, addresses <-chan []netip.Prefix) error {
	ended := make(chan error, len(sockets))
	var serving sync.WaitGroup
	for _, s := range sockets {
		serving.Go(func() { ended <- s.serve(r) })
	}
	defer serving.Wait()
	defer func() {
		for _, s := range sockets {
			_ = s.conn.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("answering for names: %w", err)
		case list, ok := <-addresses:
			if !ok {
				addresses = nil
				continue
			}
			r.set(list)
			for _, s := range sockets {
				s.announce(r)
			}
		}
	}
}

// responderSocket is a socket of one IP version in the multicast group.
type responderSocket struct {
	conn  net.PacketConn
	group *net.UDPAddr

	mu   sync.Mutex
	sent time.Time // the time of the last multicast response
}

func listen4(ctx context.Context, link *net.Interface) (*responderSocket, error) {
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port}
	conn, err := listen(ctx, "udp4", group.String())
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	if err := errors.Join(p.JoinGroup(link, group), p.SetMulticastInterface(link), p.SetMulticastTTL(hopLimit), p.SetTTL(hopLimit)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("joining the group %s on %s: %w", group.IP, link.Name, err)
	}
	return &responderSocket{conn: conn, group: group}, nil
}

func listen6(ctx context.Context, link *net.Interface) (*responderSocket, error) {
	group := &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: port, Zone: link.Name}
	conn, err := listen(ctx, "udp6", group.String())
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(conn)
	if err := errors.Join(p.JoinGroup(link, group), p.SetMulticastInterface(link), p.SetMulticastHopLimit(hopLimit), p.SetHopLimit(hopLimit)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("joining the group %s on %s: %w", group.IP, link.Name, err)
	}
	return &responderSocket{conn: conn, group: group}, nil
}

// listen opens a socket bound to the group: it receives no unicast packets, and so
// none from other networks.
func listen(ctx context.Context, network, group string) (net.PacketConn, error) {
	config := net.ListenConfig{Control: shareAddress}
	conn, err := config.ListenPacket(ctx, network, group)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for %s: %w", group, err)
	}
	return conn, nil
}

// serve answers questions until the socket is closed or broken.
func (s *responderSocket) serve(r *responder) error {
	buffer := make([]byte, maxMessage+1) // a longer message fills it
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		sender, ok := from.(*net.UDPAddr)
		if !ok || n > maxMessage {
			continue
		}
		source := sender.AddrPort().Addr().Unmap().WithZone("")
		if !r.onLink(source) {
			continue
		}
		response, unicast := r.respond(buffer[:n], sender.Port)
		// If a response cannot be sent, the querier repeats its query.
		switch {
		case response == nil:
		case unicast:
			if r.mayUnicast(source) {
				_, _ = s.conn.WriteTo(response, sender)
			}
		case s.mayMulticast():
			_, _ = s.conn.WriteTo(response, s.group)
		}
	}
}

// mayMulticast reports whether a multicast response may be sent now, and records its
// time.
func (s *responderSocket) mayMulticast() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.sent) < minInterval {
		return false
	}
	s.sent = time.Now()
	return true
}

// announce multicasts new addresses (RFC 6762, section 8.4). If the packet is lost,
// hosts that need the addresses send a query.
func (s *responderSocket) announce(r *responder) {
	if message := r.announcement(); message != nil {
		_, _ = s.conn.WriteTo(message, s.group)
	}
}
