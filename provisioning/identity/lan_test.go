package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
	"sealpost/tests/rigs/parts"
)

var names = []string{"box.example", "sealpost.local"}

func lanOf(t *testing.T, store Store, names ...string) []tls.Certificate {
	t.Helper()
	all, err := LAN(t.Context(), store, keyring.FileSealer(nil), names)
	if err != nil || len(all) != 2 {
		t.Fatalf("got %d certificates, %v, want 2", len(all), err)
	}
	return all
}

func TestLAN_KeepsItsCertificatesAndItsCA(t *testing.T) {
	store := &memory{sections: state.Sections{sectionLAN: []byte(`{"certificate":"AAAA","key":{"protection":"file","name":"lan"}}`)}}
	first := lanOf(t, store, names...)
	restarted := lanOf(t, store, names...)
	renamed := lanOf(t, store, "relay.box.example", "sealpost.local")
	moved := lanOf(t, store, "other.example", "sealpost.local")
	for i, c := range first {
		if !c.Leaf.Equal(restarted[i].Leaf) {
			t.Error("got other certificates after a restart")
		}
		if c.Leaf.Equal(renamed[i].Leaf) || renamed[i].Leaf.VerifyHostname("relay.box.example") != nil || string(renamed[i].Certificate[1]) != string(c.Certificate[1]) {
			t.Error("a host below the permitted name has no certificate of its own under the same CA")
		}
		if moved[i].Leaf.VerifyHostname("other.example") != nil || string(moved[i].Certificate[1]) == string(c.Certificate[1]) {
			t.Error("a name that the CA does not permit has no new CA")
		}
		if c.Leaf.VerifyHostname("sealpost.local") != nil || len(c.Certificate) != 2 {
			t.Errorf("certificate %d lacks a name or the CA", i)
		}
	}
	if first[0].Leaf.PublicKeyAlgorithm != x509.ECDSA || first[1].Leaf.PublicKeyAlgorithm != x509.RSA {
		t.Error("want ECDSA, then RSA")
	}
	ca, err := LANAuthority(t.Context(), store, keyring.FileSealer(nil), []string{"other.example", "sealpost.local"})
	if err != nil || string(ca.Raw) != string(moved[0].Certificate[1]) {
		t.Errorf("got another CA than the one that is sent, or %v", err)
	}
	if lines, err := DescribeLAN(t.Context(), store); err != nil || len(lines) != 2 || !strings.Contains(lines[1], "other.example, sealpost.local") {
		t.Errorf("got %q, %v", lines, err)
	}
}

func TestLAN_AcceptsAnAddressAsName(t *testing.T) {
	all := lanOf(t, &memory{}, "192.168.10.25", "sealpost.local")
	public := lanOf(t, &memory{}, "203.0.113.25", "sealpost.local")
	if all[1].Leaf.VerifyHostname("192.168.10.25") != nil || public[1].Leaf.VerifyHostname("203.0.113.25") != nil {
		t.Error("the certificate is not for the address")
	}
}

func TestLAN_ReplacesItsCertificatesOnlyWhenTheTPMKeyIsLost(t *testing.T) {
	store := &memory{}
	lanOf(t, store, names...)
	for state, kept := range map[hal.TPMState]bool{hal.TPMAbsent: true, hal.TPMReplaced: false} {
		before := string(store.sections[sectionLAN])
		sealer, lost := keyring.FileSealer(nil), before
		open := sealer.Open
		sealer.Open = func(ctx context.Context, name string, s keyring.Secret) ([]byte, error) {
			if string(store.sections[sectionLAN]) == lost {
				return nil, &hal.TPMFault{State: state, Op: "unseal"}
			}
			return open(ctx, name, s)
		}
		_, err := LAN(t.Context(), store, sealer, names)
		if (err != nil) != kept || (string(store.sections[sectionLAN]) == before) != kept {
			t.Errorf("TPM %s: got %v, kept %t, want kept %t", state, err, string(store.sections[sectionLAN]) == before, kept)
		}
	}
	if passing := must(Ephemeral(names)); passing.Leaf.VerifyHostname("sealpost.local") != nil {
		t.Error("the passing certificate is for another name")
	}
}

// TestLAN_UsesWhatAnotherProcessHasMade has a stick and a relay make certificates at
// once.
func TestLAN_UsesWhatAnotherProcessHasMade(t *testing.T) {
	store := &memory{}
	sealer := keyring.FileSealer(nil)
	seal, other := sealer.Seal, []tls.Certificate(nil)
	sealer.Seal = func(ctx context.Context, name string, secret []byte) (keyring.Secret, error) {
		if other == nil {
			other = lanOf(t, store, names...)
		}
		return seal(ctx, name, secret)
	}
	all, err := LAN(t.Context(), store, sealer, names)
	if err != nil || !all[0].Leaf.Equal(other[0].Leaf) {
		t.Errorf("got certificates of its own, or %v", err)
	}
}

// handshake returns the certificate that a client gets.
func handshake(t *testing.T, all []tls.Certificate, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	server := tls.Server(theirs, &tls.Config{Certificates: all})
	go func() { _ = server.Handshake(); _ = theirs.Close() }()
	conn := tls.Client(ours, client)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestLAN_IsTrustedByGoUnderItsCA(t *testing.T) {
	all := lanOf(t, &memory{}, names...)
	ca := must(x509.ParseCertificate(all[0].Certificate[1]))
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	if _, err := handshake(t, all, &tls.Config{RootCAs: pool, ServerName: "sealpost.local"}); err != nil {
		t.Error(err)
	}
	if !ca.IsCA || !ca.MaxPathLenZero || ca.MaxPathLen != 0 || ca.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("the CA has MaxPathLen %d and a key of %s", ca.MaxPathLen, ca.PublicKeyAlgorithm)
	}
}

func TestLAN_UsesTheSitesOwnCertificate(t *testing.T) {
	store := &memory{}
	issued := must(authority.IssueP256(nil, "relay.contoso.com"))
	site := must(ProtectSite(t.Context(), keyring.FileSealer(nil), must(certificate.ParsePFX(must(parts.PFX(issued, "x")), "x"))))
	if err := store.Update(t.Context(), site.Put); err != nil {
		t.Fatal(err)
	}
	all := must(LAN(t.Context(), store, keyring.FileSealer(nil), names))
	if len(all) != 1 || all[0].Leaf.VerifyHostname("relay.contoso.com") != nil {
		t.Errorf("got %d certificates", len(all))
	}
	if got, err := handshake(t, all, &tls.Config{InsecureSkipVerify: true}); err != nil || !got.Equal(all[0].Leaf) {
		t.Errorf("a client gets another certificate, or %v", err)
	}
	if lines := must(DescribeLAN(t.Context(), store)); len(lines) != 1 || !strings.Contains(lines[0], "the site's own for relay.contoso.com") {
		t.Errorf("got %q", lines)
	}
	lost := keyring.FileSealer(nil)
	lost.Open = func(ctx context.Context, name string, s keyring.Secret) ([]byte, error) {
		if name == sectionSite {
			return nil, &hal.TPMFault{State: hal.TPMReplaced}
		}
		return keyring.FileSealer(nil).Open(ctx, name, s)
	}
	if own := must(LAN(t.Context(), store, lost, names)); len(own) != 2 {
		t.Errorf("without the site's key: got %d certificates, want the box's own 2", len(own))
	}
	if err := errors.Join(store.Update(t.Context(), RemoveSite)); err != nil {
		t.Error(err)
	}
	if err := store.Update(t.Context(), RemoveSite); !errors.Is(err, ErrNoSite) {
		t.Errorf("got %v, want %v", err, ErrNoSite)
	}
	lanOf(t, store, names...)
}

func TestCheckServer_RefusesWhatDevicesCannotUse(t *testing.T) {
	now := time.Now()
	good := x509.Certificate{NotAfter: now.Add(time.Hour), DNSNames: []string{"relay.contoso.com"}, PublicKey: must(authority.IssueP256(nil, "x")).Leaf.PublicKey}
	for text, change := range map[string]func(*x509.Certificate){
		"":                        func(*x509.Certificate) {},
		"not for server":          func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"expired on":              func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) },
		"no subject alternative":  func(c *x509.Certificate) { c.DNSNames = nil },
		"key that devices do not": func(c *x509.Certificate) { c.PublicKey = nil },
	} {
		changed := good
		change(&changed)
		err := CheckServer(certificate.Path{Chain: []*x509.Certificate{&changed}}, now)
		if (err == nil) != (text == "") || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
