package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer responds NXDOMAIN to every query.
func nameServer(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buffer := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
			response, err := m.Pack()
			if err != nil {
				continue
			}
			conn.WriteTo(response, from)
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func TestResolver_NamesTheServersThatItQueried(t *testing.T) {
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	for name, server := range map[string]netip.AddrPort{"responds": nameServer(t), "is dead": dead} {
		t.Run(name, func(t *testing.T) {
			r := New([]netip.AddrPort{server})
			for kind, lookup := range map[string]func(context.Context) error{
				"MX":      func(ctx context.Context) error { _, err := r.LookupMX(ctx, "contoso.example."); return err },
				"address": func(ctx context.Context) error { _, err := r.LookupNetIP(ctx, "ip", "contoso.example."); return err },
			} {
				err := lookup(t.Context())
				fault, ok := errors.AsType[*net.DNSError](err)
				if !ok || fault.Server != server.String() || !strings.Contains(err.Error(), "on "+server.String()+":") {
					t.Errorf("%s: got %v, want server %s", kind, err, server)
				}
				if ok && fault.IsNotFound != (name == "responds") {
					t.Errorf("%s: got not found %t, want %t: %v", kind, fault.IsNotFound, name == "responds", err)
				}
			}
		})
	}
}

func TestResolver_NamesOnlyServersOfTheList(t *testing.T) {
	list := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.2:1")}
	_, err := New(list).LookupMX(t.Context(), "contoso.example.")
	fault, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		t.Fatal(err)
	}
	for server := range strings.SplitSeq(fault.Server, ", ") {
		if server != list[0].String() && server != list[1].String() {
			t.Errorf("got server %q, want one of those configured: %v", server, err)
		}
	}
}
