package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// verifiedClientCert is what Postfix logs in a Received field for a verified client.
const verifiedClientCert = `(Client CN "relay.contoso.com", Issuer "Test CA" (verified OK))`

const utf8Message = "From: Drucker <printer@contoso.com>\r\nSubject: Bericht\r\n" +
	"Date: Thu, 26 Nov 2026 09:00:00 +0100\r\nTo: " + recipient + "\r\nMessage-ID: <1@device>\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"Grüße aus dem Keller: 25 °C, 日本語, 🖨\r\n"

func TestConnector_DeliversEveryClientsMailUnderTheVerifiedCertificate(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := relaySite(t, siteConfig{host: "localhost", port: postfix.Port}, certificate)
	arrived := 0
	for _, client := range []struct {
		name     string
		messages int
		send     func() (string, error)
		want     []string // texts in each message, besides verifiedClientCert
	}{
		{"swaks", 1, func() (string, error) { return s.swaks("--body", "by swaks") },
			[]string{"by relay.contoso.com (Sealpost) with ESMTP id", "\nby swaks\n"}},
		{"swaks with STARTTLS", 1, func() (string, error) { return s.swaks("--tls", "--body", "by swaks in TLS") },
			[]string{"by relay.contoso.com (Sealpost) with ESMTPS id", "\nby swaks in TLS\n"}},
		{"Python's smtplib", 1, func() (string, error) {
			return s.smtplib(utf8Message, recipient, "bob@fabrikam.example", "eve@woodgrove.example")
		},
			[]string{"<" + recipient + ">", "<bob@fabrikam.example>", "<eve@woodgrove.example>", strings.ReplaceAll(utf8Message, "\r", "")}},
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
		for _, want := range append(client.want, verifiedClientCert) {
			if count := countContaining(messages, want); count < client.messages {
				t.Errorf("%s: got %d messages with %q, want %d:\n%s", client.name, count, want, client.messages, messages[len(messages)-1])
			}
		}
	}
	if verified := countContaining(must(postfix.Messages(arrived)), verifiedClientCert); verified != arrived {
		t.Errorf("got %d messages with the verified certificate, want %d", verified, arrived)
	}
}

func countContaining(texts []string, part string) int {
	count := 0
	for _, text := range texts {
		if strings.Contains(text, part) {
			count++
		}
	}
	return count
}

// TestContent_ArrivesAsTheServerCanTakeIt sends content to servers with and without
// extensions. It arrives unchanged, or if it must be re-encoded, its parts decode to what
// was sent.
func TestContent_ArrivesAsTheServerCanTakeIt(t *testing.T) {
	difficult := strings.Join([]string{
		".", "..", ".leading dot", "", "trailing blanks  \t", "From a line that mailboxes fear", "=3D %FROM_ADDRESS%", "", "", "end",
	}, "\n") + "\n"
	const eightBit = "caf\xe9 \x80\xff\n"
	long := strings.Repeat("long line ", 5000) + "\n"
	multi := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n" + difficult + eightBit +
		"\n--b\nContent-Type: application/octet-stream\n\n" + eightBit + long + "\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n" + strings.Repeat("QUJD", 1000) + "\n--b--\n"
	header := strings.ReplaceAll(strings.TrimSuffix(completeHeader, "\r\n"), "\r\n", "\n")
	for name, c := range map[string]struct {
		without, message string
		sevenBit, same   bool
	}{
		"BDAT":                               {"", "\n" + difficult + eightBit, false, true},
		"DATA":                               {"chunking", "\n" + difficult + eightBit, false, true},
		"long lines":                         {"", "\n" + difficult + eightBit + long, true, false},
		"parts with long lines":              {"", multi, false, false},
		"no 8BITMIME":                        {"8bitmime", "\n" + difficult + eightBit, true, false},
		"no 8BITMIME, parts with long lines": {"8bitmime", multi, true, false},
		"no extensions":                      {"chunking, pipelining, 8bitmime, size", multi, true, false},
		"no extensions, ASCII":               {"chunking, pipelining, 8bitmime, size", "\n" + difficult, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate := clientCertificate(t, authority())
			postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}, Without: c.without})
			s := relaySite(t, siteConfig{host: "localhost", port: postfix.Port}, certificate)
			if output, err := s.smtplib(strings.ReplaceAll(header+c.message, "\n", "\r\n"), recipient); err != nil {
				t.Fatalf("%v: %s\n%s", err, output, s.relay.Log)
			}
			messages, err := postfix.Messages(1)
			if err != nil {
				t.Fatal(err)
			}
			_, got, found := strings.Cut(messages[0], header)
			got = strings.TrimSuffix(got, "\n")
			if !found || (got == c.message) != c.same {
				t.Errorf("got content\n%q\nwant the same as this: %t\n%q", got, c.same, c.message)
			}
			if c.sevenBit && strings.IndexFunc(got, func(r rune) bool { return r > 127 }) >= 0 {
				t.Errorf("got octets above 127 in\n%q", got)
			}
			for line := range strings.SplitSeq(got, "\n") {
				if len(line) > 998 {
					t.Errorf("got a line of %d octets", len(line))
				}
			}
			if got, want := decodedParts(t, header+got), decodedParts(t, header+c.message); !slices.Equal(got, want) {
				t.Errorf("got parts\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// decodedParts returns the decoded content of each part of a message.
func decodedParts(t *testing.T, message string) (all []string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	decode := func(header interface{ Get(string) string }, body io.Reader) {
		switch header.Get("Content-Transfer-Encoding") {
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		}
		decoded, err := io.ReadAll(body)
		if err != nil {
			t.Errorf("decoding a part of %q: %v", message, err)
		}
		all = append(all, strings.ReplaceAll(string(decoded), "\r\n", "\n"))
	}
	mediaType, parameters, _ := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if !strings.HasPrefix(mediaType, "multipart/") {
		decode(m.Header, m.Body)
		return all
	}
	for r := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := r.NextRawPart()
		if err != nil {
			return all
		}
		decode(part.Header, part)
	}
}

func TestConnector_ReportsARejectionByPostfixToTheClient(t *testing.T) {
	const (
		rejected     = "554 5.7.1 localhost said: 554 5.7.1 <" + recipient + ">: Relay access denied"
		disconnected = " is queued and will be sent: localhost said: 421 4.7.1 mail.contoso.example Error: "
	)
	foreign := must(parts.NewAuthority("Foreign CA"))
	for name, c := range map[string]struct {
		certificate *tls.Certificate // imported; nil for none
		listed      bool
		required    bool // TLS requires a verified certificate
		want        string
		event       string
	}{
		"another certificate of the same authority":   {new(clientCertificate(t, authority())), false, false, rejected, "refused"},
		"a listed certificate of a foreign authority": {new(clientCertificate(t, foreign)), true, false, rejected, "refused"},
		"no certificate": {nil, false, false, rejected, "no client certificate"},
		"a certificate of a foreign authority, required for TLS": {new(clientCertificate(t, foreign)), true, true, disconnected + "Client certificate not trusted", "upstream not connected"},
		"no certificate, required for TLS":                       {nil, false, true, disconnected + "No client certificate presented", "upstream not connected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := []*x509.Certificate{clientCertificate(t, authority()).Leaf}
			if c.listed {
				known = append(known, c.certificate.Leaf)
			}
			postfix := startPostfix(t, parts.PostfixConfig{Clients: known, TLSRequired: c.required})
			s := newSite(t, siteConfig{host: "localhost", port: postfix.Port})
			if c.certificate != nil {
				s.importPFX(*c.certificate)
			}
			s.start()
			output, err := s.swaks()
			if queued := err == nil; queued != c.required || !strings.Contains(output, c.want) {
				t.Errorf("swaks: %v, want the reply %q\n%s", err, c.want, output)
			}
			s.events(c.event, 1)
			if messages := must(postfix.Messages(0)); len(messages) > 0 {
				t.Errorf("got a message, want none:\n%s", messages[0])
			}
		})
	}
}
