package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/dialogue"
	"sealpost/tests/rigs/parts"
)

// quirkySettings are what the quirks in testdata/quirks need.
const quirkySettings = `
[[senders.map]]
from = "@mfp.local"
to = "mapped@contoso.com"

[[device]]
address = "127.0.1.2"
tls = "legacy"

[[device]]
address = "127.0.1.3"
auth = "any"
`

// TestQuirks_EndInAMessage plays what odd devices do. A real Postfix takes each message,
// and it arrives as sent, or changed exactly as the script says.
func TestQuirks_EndInAMessage(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/quirks/*.dialogue")
	if err != nil || len(scripts) < 30 {
		t.Fatalf("got %d scripts, %v, want at least 30", len(scripts), err)
	}
	certificate := clientCertificate(t, authority())
	sites := map[string]*site{}
	upstreams := map[string]*parts.Postfix{}
	for name, without := range map[string]string{"": "", "7bit": "8bitmime"} {
		upstreams[name] = startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}, Without: without})
		sites[name] = relaySite(t, siteConfig{host: "localhost", port: upstreams[name].Port, smtps: "127.0.0.2:0", more: quirkySettings}, certificate)
	}
	arrived := map[string][]string{}
	for n, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			options, want, err := dialogue.Options(script)
			if err != nil || len(want) == 0 {
				t.Fatalf("got %d lines that are delivered, %v", len(want), err)
			}
			s := sites[options["upstream"]]
			from := options["from"]
			if from == "" {
				from = "127.0.3." + strconv.Itoa(n+1)
			}
			conn := dialFrom(t, from, s.addressesByMode()[map[string]string{"": "clear", "smtps": "implicit TLS"}[options["port"]]])
			if err := dialogue.PlayTLS(conn, script, tlsOptions(options["tls"])); err != nil {
				t.Fatalf("%v\n%s", err, s.relay.Log)
			}
			before := arrived[options["upstream"]]
			all, err := upstreams[options["upstream"]].Messages(len(before) + 1)
			if err != nil {
				t.Fatalf("%v\n%s", err, s.relay.Log)
			}
			arrived[options["upstream"]] = all
			got := all[slices.IndexFunc(all, func(text string) bool { return !slices.Contains(before, text) })]
			if lines := belowTrace(got); !matchLines(lines, want) {
				t.Errorf("delivered:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// tlsOptions are the options of a client that supports only one version of TLS.
func tlsOptions(version string) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}
	if version == "1.0" {
		config.MaxVersion = tls.VersionTLS10
		config.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	}
	return config
}

// dialFrom connects from an address of the loopback network.
func dialFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// belowTrace returns the lines of a message below the relay's trace field. The sink ends
// a message with an empty line.
func belowTrace(message string) []string {
	lines := strings.Split(strings.TrimSuffix(message, "\n\n"), "\n")
	ours := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "by relay.contoso.com (Sealpost) with ") })
	if ours < 0 {
		return lines
	}
	return lines[ours+2:]
}

// matchLines reports whether lines match patterns, in which an asterisk matches any text
// and "-- raw" precedes a quoted line.
func matchLines(lines, patterns []string) bool {
	plain := strings.NewReplacer("/", "|", "[", "(", "]", ")", "?", "!", `\`, "|")
	return len(lines) == len(patterns) && !slices.ContainsFunc(patterns, func(pattern string) bool {
		line := lines[0]
		lines = lines[1:]
		if quoted, found := strings.CutPrefix(pattern, "-- raw "); found {
			text, err := strconv.Unquote(quoted)
			return err != nil || text != line
		}
		same, err := path.Match(plain.Replace(pattern), plain.Replace(line))
		return err != nil || !same
	})
}
