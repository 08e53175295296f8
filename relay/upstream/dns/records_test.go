package dns

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sealpost/tests/rigs/parts"
)

func resource(name string, kind dnsmessage.Type, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, Type: kind}, Body: body}
}

// zone answers from records by type; a name that has none does not exist. It sets the AD
// bit if it validates.
func zone(t *testing.T, validates bool, records ...dnsmessage.Resource) func(string, dnsmessage.Message) []byte {
	return func(_ string, query dnsmessage.Message) []byte {
		response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, AuthenticData: validates, RCode: dnsmessage.RCodeNameError}, Questions: query.Questions}
		for _, record := range records {
			if !sameName(record.Header.Name, query.Questions[0].Name) {
				continue
			}
			response.RCode = dnsmessage.RCodeSuccess
			if record.Header.Type == query.Questions[0].Type {
				response.Answers = append(response.Answers, record)
			}
		}
		packed, err := response.Pack()
		if err != nil {
			t.Error(err)
		}
		return packed
	}
}

var contoso = []dnsmessage.Resource{
	resource("contoso.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: 20, MX: dnsmessage.MustNewName("B.contoso.com.")}),
	resource("contoso.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName("a.contoso.com.")}),
	resource("null.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: dnsmessage.MustNewName(".")}),
	resource("a.contoso.com.", dnsmessage.TypeA, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}),
	resource("a.contoso.com.", dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()}),
	resource("_mta-sts.contoso.com.", dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: []string{"v=STSv1; ", "id=1;"}}),
}

func TestResolver_LooksUpRecords(t *testing.T) {
	for _, c := range []struct{ trusted, validates bool }{{true, true}, {true, false}, {false, true}} {
		server := scriptedServer(t, zone(t, c.validates, contoso...))
		r := New([]netip.AddrPort{server})
		if c.trusted {
			r = NewValidating(server, nil)
		}
		hosts, validated, err := r.MX(t.Context(), "contoso.com")
		if want := []MX{{20, "b.contoso.com"}, {10, "a.contoso.com"}}; !reflect.DeepEqual(hosts, want) || validated != (c.trusted && c.validates) || err != nil {
			t.Errorf("%v: got MX %v, validated %v, %v, want %v", c, hosts, validated, err, want)
		}
		addresses, validated, err := r.Addresses(t.Context(), "a.contoso.com.")
		if want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}; !reflect.DeepEqual(addresses, want) || validated != (c.trusted && c.validates) || err != nil {
			t.Errorf("%v: got addresses %v, validated %v, %v, want %v", c, addresses, validated, err, want)
		}
		if hosts, _, err := r.MX(t.Context(), "a.contoso.com"); len(hosts) > 0 || err != nil {
			t.Errorf("a name without MX: got %v, %v, want none", hosts, err)
		}
		if hosts, _, err := r.MX(t.Context(), "null.com"); err != nil || hosts[0].Host != "." {
			t.Errorf("a null MX: got %v, %v, want .", hosts, err)
		}
		if texts, err := r.TXT(t.Context(), "_mta-sts.contoso.com"); err != nil || !reflect.DeepEqual(texts, []string{"v=STSv1; id=1;"}) {
			t.Errorf("got TXT %q, %v", texts, err)
		}
		for what, ask := range map[string]func(string) error{
			"MX":        func(name string) error { _, _, err := r.MX(t.Context(), name); return err },
			"addresses": func(name string) error { _, _, err := r.Addresses(t.Context(), name); return err },
		} {
			fault := (*net.DNSError)(nil)
			if err := ask("nowhere.com"); !errors.As(err, &fault) || !fault.IsNotFound || fault.Name != "nowhere.com" {
				t.Errorf("%s of a name that does not exist: got %v", what, err)
			}
			if err := ask(strings.Repeat("x", 300)); err == nil {
				t.Errorf("%s of a name that is too long: got no error", what)
			}
		}
	}
}

func TestResolver_ReportsServersThatFail(t *testing.T) {
	server := scriptedServer(t, func(_ string, query dnsmessage.Message) []byte {
		response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, RCode: dnsmessage.RCodeServerFailure}, Questions: query.Questions}
		packed, _ := response.Pack()
		return packed
	})
	_, _, err := New([]netip.AddrPort{server}).MX(t.Context(), "contoso.com")
	fault := (*net.DNSError)(nil)
	if !errors.As(err, &fault) || fault.IsNotFound || fault.Server != server.String() || !strings.Contains(fault.Err, "ServerFailure") {
		t.Errorf("got %+v, want the failure of %s", fault, server)
	}
}

func TestResolver_AsksOverTLS(t *testing.T) {
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.IssueP256(nil, "dns.example")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	answer := zone(t, true, contoso...)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			packed := make([]byte, 2048)
			n, _ := io.ReadAtLeast(conn, packed, 2+12)
			var query dnsmessage.Message
			if n > 2 && query.Unpack(packed[2:n]) == nil {
				response := answer("tcp", query)
				_, _ = conn.Write(append([]byte{byte(len(response) >> 8), byte(len(response))}, response...))
			}
			_ = conn.Close()
		}
	}()
	server := listener.Addr().(*net.TCPAddr).AddrPort()
	for name, roots := range map[string]*x509.CertPool{"a trusted server": authority.Pool(), "another server": x509.NewCertPool()} {
		r := NewValidating(server, &tls.Config{ServerName: "dns.example", RootCAs: roots, MinVersion: tls.VersionTLS12})
		hosts, validated, err := r.MX(t.Context(), "contoso.com")
		if trusted := name == "a trusted server"; trusted != (err == nil) || trusted != validated || trusted != (len(hosts) == 2) {
			t.Errorf("%s: got %v, validated %v, %v", name, hosts, validated, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("_25._tcp.mx.contoso.com.")
	question := dnsmessage.Question{Name: name, Type: typeTLSA, Class: dnsmessage.ClassINET}
	good := dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Questions: []dnsmessage.Question{question},
		Answers: append([]dnsmessage.Resource{alias(name.String(), "a.contoso.com."), tlsaRecord("a.contoso.com.", 3, 1, 1, 1)}, contoso...)}
	packed, err := good.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	kinds := []dnsmessage.Type{typeTLSA, dnsmessage.TypeMX, dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeTXT}
	f.Fuzz(func(t *testing.T, response []byte) {
		if _, err := checkResponse(response, 1, question); err != nil {
			return
		}
		for _, kind := range kinds {
			found, err := parseAnswer(response, name, kind)
			if len(found.records) > maxRecords || err != nil && len(found.records) > 0 {
				t.Errorf("got %d records, %v", len(found.records), err)
			}
		}
		for _, body := range must(parseAnswer(response, name, typeTLSA)).records {
			if unknown, ok := body.(*dnsmessage.UnknownResource); ok {
				if record, ok := parseTLSA(unknown.Data); ok && len(record.Data) == 0 {
					t.Error("got a record without data")
				}
			}
		}
	})
}

func must(found answer, _ error) answer { return found }
