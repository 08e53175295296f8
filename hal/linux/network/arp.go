//go:build linux

package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// An ARP packet for IPv4 on Ethernet (RFC 826) after its fixed header.
const (
	arpSize      = 28
	arpRequest   = 1
	arpAttempts  = 3
	arpTimeout   = 400 * time.Millisecond // after each attempt
	arpReadLimit = 128
)

var (
	arpHeader    = []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4, and their lengths
	broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// owner sends ARP requests for target and returns the hardware address of
// the first that answers, nil if none does within about a second. The sender
// 0.0.0.0 makes it a probe, which does not change the ARP caches of other hosts (RFC 5227).
func (p port) owner(ctx context.Context, sender, target netip.Addr) (net.HardwareAddr, error) {
	conn, err := packet.Listen(&net.Interface{Index: p.index, HardwareAddr: p.mac}, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for ARP on %s: %w", p.name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	for range arpAttempts {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := conn.WriteTo(p.request(sender, target), &packet.Addr{HardwareAddr: broadcastMAC}); err != nil {
			return nil, fmt.Errorf("sending an ARP request for %s on %s: %w", target, p.name, err)
		}
		if found := p.awaitReply(conn, target, time.Now().Add(arpTimeout)); found != nil {
			return found, nil
		}
	}
	return nil, ctx.Err()
}

func (p port) request(sender, target netip.Addr) []byte {
	frame := append(make([]byte, 0, arpSize), arpHeader...)
	frame = binary.BigEndian.AppendUint16(frame, arpRequest)
	frame = append(frame, p.mac...)
	frame = append(frame, sender.AsSlice()...)
	frame = append(frame, make([]byte, 6)...)
	return append(frame, target.AsSlice()...)
}

func (p port) awaitReply(conn *packet.Conn, target netip.Addr, until time.Time) net.HardwareAddr {
	_ = conn.SetReadDeadline(until)
	buffer := make([]byte, arpReadLimit)
	for time.Now().Before(until) {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return nil
		}
		if mac, ip, ok := arpSender(buffer[:n]); ok && ip == target && !bytes.Equal(mac, p.mac) {
			return mac
		}
	}
	return nil
}

// arpSender returns the sender of an ARP request or reply: either
// shows which host has the address.
func arpSender(frame []byte) (net.HardwareAddr, netip.Addr, bool) {
	if len(frame) < arpSize || !bytes.HasPrefix(frame, arpHeader) {
		return nil, netip.Addr{}, false
	}
	return bytes.Clone(frame[8:14]), netip.AddrFrom4([4]byte(frame[14:18])), true
}
