package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// nameOfTheCertificate is what Postfix writes for a client that it verified.
const nameOfTheCertificate = `(Client CN "relay.contoso.com", Issuer "Test CA" (verified OK))`

const letter = "From: Drucker <printer@contoso.com>\r\nSubject: Prüfbericht\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"Grüße aus dem Keller: 25 °C, 日本語, 🖨\r\n"

func TestConnector_DeliversEveryClientsMailUnderTheVerifiedCertificate(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := relaySite(t, told{host: "localhost", port: postfix.Port}, certificate)
	arrived := 0
	for _, client := range []struct {
		name     string
		messages int
		send     func() (string, error)
		marks    []string // that a message carries beside the certificate's name
	}{
		{"swaks", 1, func() (string, error) { return s.swaks("--body", "by swaks") },
			[]string{"by relay.contoso.com (Sealpost) with ESMTP id", "\nby swaks\n"}},
		{"swaks with STARTTLS", 1, func() (string, error) { return s.swaks("--tls", "--body", "by swaks in TLS") },
			[]string{"by relay.contoso.com (Sealpost) with ESMTPS id", "\nby swaks in TLS\n"}},
		{"Python's smtplib", 1, func() (string, error) {
			return s.smtplib(letter, recipient, "bob@fabrikam.example", "eve@woodgrove.example")
		},
			[]string{"<" + recipient + ">", "<bob@fabrikam.example>", "<eve@woodgrove.example>", strings.ReplaceAll(letter, "\r", "")}},
		{"smtp-source", 50, func() (string, error) { return s.smtpSource(5, 50) }, []string{"\nLa de da de da 4.\n"}},
	} {
		if output, err := client.send(); err != nil {
			t.Fatalf("%s: %v: %s\n%s", client.name, err, output, s.relay.Log)
		}
		arrived += client.messages
		messages, err := postfix.Messages(arrived)
		if err != nil {
			t.Fatalf("%s: %v", client.name, err)
		}
		for _, mark := range append(client.marks, nameOfTheCertificate) {
			if count := countContaining(messages, mark); count < client.messages {
				t.Errorf("%s: %d messages hold %q:\n%s", client.name, count, mark, messages[len(messages)-1])
			}
		}
	}
	if named := countContaining(must(postfix.Messages(arrived)), nameOfTheCertificate); named != arrived {
		t.Errorf("Postfix named the certificate for %d of %d messages", named, arrived)
	}
}

func countContaining(texts []string, mark string) int {
	count := 0
	for _, text := range texts {
		if strings.Contains(text, mark) {
			count++
		}
	}
	return count
}

func TestContent_ArrivesUnchanged(t *testing.T) {
	const header = "Subject: difficult\n\n"
	body := strings.Join([]string{
		".", "..", ".leading dot", "", "trailing blanks  \t", strings.Repeat("long line ", 1200),
		"caf\xe9 \x80\xff", "From a line that mailboxes fear", "=3D %FROM_ADDRESS%", "", "", "end",
	}, "\n") + "\n"
	for name, without := range map[string]string{"by BDAT": "", "by DATA": "chunking", "plainly": "chunking, pipelining, 8bitmime, size"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate := clientCertificate(t, authority())
			postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}, Without: without})
			s := relaySite(t, told{host: "localhost", port: postfix.Port}, certificate)
			if output, err := s.smtplib(strings.ReplaceAll(header+body, "\n", "\r\n"), recipient); err != nil {
				t.Fatalf("%v: %s\n%s", err, output, s.relay.Log)
			}
			messages, err := postfix.Messages(1)
			if err != nil {
				t.Fatal(err)
			}
			_, got, found := strings.Cut(messages[0], header)
			if got = strings.TrimSuffix(got, "\n"); !found || got != body {
				t.Errorf("arrived:\n%q\nsent:\n%q", got, body)
			}
		})
	}
}

func TestConnector_TellsTheClientWhyPostfixRefuses(t *testing.T) {
	const (
		refused = "554 5.7.1 localhost said: 554 5.7.1 <" + recipient + ">: Relay access denied"
		hungUp  = " is queued and will be sent: localhost said: 421 4.7.1 mail.contoso.example Error: "
	)
	foreign := must(parts.NewAuthority("Foreign CA"))
	for name, c := range map[string]struct {
		shown    *tls.Certificate // nil imports none
		listed   bool
		required bool // TLS needs a verified certificate
		hears    string
		event    string
	}{
		"another certificate of the same authority":   {new(clientCertificate(t, authority())), false, false, refused, "refused"},
		"a listed certificate of a foreign authority": {new(clientCertificate(t, foreign)), true, false, refused, "refused"},
		"none": {nil, false, false, refused, "no client certificate"},
		"one of a foreign authority, needed for TLS": {new(clientCertificate(t, foreign)), true, true, hungUp + "Client certificate not trusted", "upstream not connected"},
		"none, needed for TLS":                       {nil, false, true, hungUp + "No client certificate presented", "upstream not connected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := []*x509.Certificate{clientCertificate(t, authority()).Leaf}
			if c.listed {
				known = append(known, c.shown.Leaf)
			}
			postfix := startPostfix(t, parts.PostfixConfig{Clients: known, TLSRequired: c.required})
			s := newSite(t, told{host: "localhost", port: postfix.Port})
			if c.shown != nil {
				s.importPFX(*c.shown)
			}
			s.start()
			output, err := s.swaks()
			if kept := err == nil; kept != c.required || !strings.Contains(output, c.hears) {
				t.Errorf("swaks ended with %v:\n%s", err, output)
			}
			s.events(c.event, 1)
			if messages := must(postfix.Messages(0)); len(messages) > 0 {
				t.Errorf("arrived all the same:\n%s", messages[0])
			}
		})
	}
}
