package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// scriptedServer answers each query by UDP and by TCP as answer says; nil is no answer.
func scriptedServer(t *testing.T, answer func(network string, query dnsmessage.Message) []byte) netip.AddrPort {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Skip("the port is taken for TCP: ", err)
	}
	t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
	respond := func(network string, packed []byte) []byte {
		var query dnsmessage.Message
		if err := query.Unpack(packed); err != nil {
			t.Errorf("got a query that cannot be read: %v", err)
			return nil
		}
		return answer(network, query)
	}
	go func() {
		packed := make([]byte, 2048)
		for {
			n, client, err := udp.ReadFrom(packed)
			if err != nil {
				return
			}
			if response := respond("udp", packed[:n]); response != nil {
				_, _ = udp.WriteTo(response, client)
			}
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			packed := make([]byte, 2048)
			n, _ := io.ReadAtLeast(conn, packed, 2+12)
			response := respond("tcp", packed[2:n])
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(response))), response...))
			_ = conn.Close()
		}
	}()
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

// tlsaRecord returns the resource of a TLSA record.
func tlsaRecord(name string, data ...byte) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, Type: typeTLSA},
		Body:   &dnsmessage.UnknownResource{Type: typeTLSA, Data: data},
	}
}

func alias(name, of string) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, Type: dnsmessage.TypeCNAME},
		Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(of)},
	}
}

func TestLookupTLSA_ReadsWhatANameServerAnswers(t *testing.T) {
	const asked = "_25._tcp.mx.contoso.com."
	for _, c := range []struct {
		name      string
		change    func(network string, m *dnsmessage.Message)
		want      []TLSA
		validated bool
		fails     string
	}{
		{"two records", func(_ string, m *dnsmessage.Message) {
			m.AuthenticData = true
			m.Answers = []dnsmessage.Resource{tlsaRecord(asked, 3, 1, 1, 0xaa), tlsaRecord(strings.ToUpper(asked), 2, 0, 1, 0xbb, 0xcc)}
		}, []TLSA{{3, 1, 1, []byte{0xaa}}, {2, 0, 1, []byte{0xbb, 0xcc}}}, true, ""},
		{"not validated", func(_ string, m *dnsmessage.Message) {
			m.Answers = []dnsmessage.Resource{tlsaRecord(asked, 3, 1, 1, 1)}
		}, []TLSA{{3, 1, 1, []byte{1}}}, false, ""},
		{"an alias", func(_ string, m *dnsmessage.Message) {
			m.Answers = []dnsmessage.Resource{alias(asked, "tlsa.contoso.com."), tlsaRecord("tlsa.contoso.com.", 3, 1, 1, 1)}
		}, []TLSA{{3, 1, 1, []byte{1}}}, false, ""},
		{"of another name", func(_ string, m *dnsmessage.Message) {
			m.Answers = []dnsmessage.Resource{tlsaRecord("_25._tcp.evil.com.", 3, 1, 1, 1)}
		}, nil, false, ""},
		{"too short", func(_ string, m *dnsmessage.Message) { m.Answers = []dnsmessage.Resource{tlsaRecord(asked, 3, 1, 1)} }, nil, false, ""},
		{"none", func(_ string, m *dnsmessage.Message) { m.RCode, m.AuthenticData = dnsmessage.RCodeNameError, true }, nil, true, ""},
		{"truncated by UDP", func(network string, m *dnsmessage.Message) {
			if m.Truncated = network == "udp"; !m.Truncated {
				m.Answers = []dnsmessage.Resource{tlsaRecord(asked, 3, 1, 1, 1)}
			}
		}, []TLSA{{3, 1, 1, []byte{1}}}, false, ""},
		{"always truncated", func(_ string, m *dnsmessage.Message) { m.Truncated = true }, nil, false, "truncated too"},
		{"bogus", func(_ string, m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, nil, false, "the server answers ServerFailure"},
		{"another ID", func(_ string, m *dnsmessage.Message) { m.ID++ }, nil, false, "i/o timeout"},
		{"another question", func(_ string, m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("evil.com.") }, nil, false, "to another question"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := scriptedServer(t, func(network string, query dnsmessage.Message) []byte {
				response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true}, Questions: query.Questions}
				c.change(network, &response)
				packed, err := response.Pack()
				if err != nil {
					t.Error(err)
				}
				return packed
			})
			got, validated, err := New([]netip.AddrPort{server}).LookupTLSA(t.Context(), "mx.contoso.com", 25)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), server.String()) {
					t.Errorf("got %v, want %q and the server", err, c.fails)
				}
				return
			}
			if err != nil || validated != c.validated || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, validated %v, %v, want %v, %v", got, validated, err, c.want, c.validated)
			}
		})
	}
}

func TestLookupTLSA_AsksTheNextServer(t *testing.T) {
	silent := scriptedServer(t, func(string, dnsmessage.Message) []byte { return nil })
	working := scriptedServer(t, func(_ string, query dnsmessage.Message) []byte {
		response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true}, Questions: query.Questions}
		packed, _ := response.Pack()
		return packed
	})
	if _, _, err := New([]netip.AddrPort{silent, working}).LookupTLSA(t.Context(), "mx.contoso.com", 25); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, _, err := New([]netip.AddrPort{silent}).LookupTLSA(ctx, "mx.contoso.com", 25); err == nil || time.Since(begun) > queryTimeout/2 {
		t.Errorf("a context that ends: got %v after %v, want an error at once", err, time.Since(begun))
	}
	if _, _, err := New([]netip.AddrPort{working}).LookupTLSA(t.Context(), strings.Repeat("x", 300), 25); err == nil {
		t.Error("a name that is too long: got no error")
	}
}
