package endtoend

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/tenant"
)

// messagesOfContentTest returns how many messages TestRandomContent_ArrivesAsSent
// sends in all; make soak sets another number.
func messagesOfContentTest(t *testing.T) int {
	t.Helper()
	text, set := os.LookupEnv("MESSAGES")
	if !set {
		return 1200
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// randomContent returns content made of sequences that parsers often mishandle.
func randomContent(random *rand.Rand) string {
	pieces := []string{"a", ".", "..", "\r", "\n", "\r\n", "\r\n", "\r\r\n", "\r\n.", ".\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n",
		"QUIT\r\n", "STARTTLS\r\n", "BDAT 1 LAST\r\n", "MAIL FROM:<a@b>\r\n", "Subject: x\r\n", "\x00", "é", "\xff", " ", "\t"}
	var b strings.Builder
	for range random.IntN(60) {
		if random.IntN(20) == 0 {
			b.WriteString(strings.Repeat("x", random.IntN(900)))
		}
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

var lineEndings = regexp.MustCompile(`\r*\n|\r`)

// delivered is content as docs/security.md says that it arrives: every line ends in CRLF,
// and an empty line is before a first line that would continue the trace field.
func delivered(content string) string {
	content = lineEndings.ReplaceAllString(content, "\r\n")
	if content != "" && !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	if strings.HasPrefix(content, " ") || strings.HasPrefix(content, "\t") {
		content = "\r\n" + content
	}
	return content
}

// contentClient is an SMTP client that sends exactly the octets of a content.
type contentClient struct {
	conn io.ReadWriteCloser
	text *textproto.Conn
}

func dialContentClient(t *testing.T, address, mode string) *contentClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
	secure := &tls.Config{InsecureSkipVerify: true}
	c := &contentClient{conn: conn}
	if mode == "implicit TLS" {
		c.conn = tls.Client(conn, secure)
	}
	c.text = textproto.NewConn(c.conn)
	c.expect(t, 220)
	c.command(t, 250, "EHLO device")
	if mode == "STARTTLS" {
		c.command(t, 220, "STARTTLS")
		c.conn = tls.Client(conn, secure)
		c.text = textproto.NewConn(c.conn)
		c.command(t, 250, "EHLO device")
	}
	return c
}

func (c *contentClient) expect(t *testing.T, code int) {
	t.Helper()
	if _, _, err := c.text.ReadResponse(code); err != nil {
		t.Fatalf("want %d: %v", code, err)
	}
}

func (c *contentClient) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		t.Fatal(err)
	}
}

func (c *contentClient) command(t *testing.T, code int, line string) {
	t.Helper()
	c.write(t, line+"\r\n")
	c.expect(t, code)
}

// data sends content by DATA, which can carry only whole lines. It returns what it
// sent, without dot-stuffing.
func (c *contentClient) data(t *testing.T, _ *rand.Rand, content string) string {
	t.Helper()
	if content != "" && !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	c.command(t, 354, "DATA")
	c.write(t, strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]+".\r\n")
	c.expect(t, 250)
	return content
}

// bdat sends content in chunks of random sizes.
func (c *contentClient) bdat(t *testing.T, random *rand.Rand, content string) string {
	t.Helper()
	for rest := content; ; {
		n, last := random.IntN(len(rest)+1), ""
		if random.IntN(3) == 0 || n == len(rest) {
			n, last = len(rest), " LAST"
		}
		c.write(t, fmt.Sprintf("BDAT %d%s\r\n%s", n, last, rest[:n]))
		c.expect(t, 250)
		if rest = rest[n:]; last != "" {
			return content
		}
	}
}

// addressesByMode returns the addresses of a site with the setting smtps.
func (s *site) addressesByMode() map[string]string {
	s.t.Helper()
	addresses := map[string]string{}
	for _, event := range s.events("listening", 2) {
		if address := event["address"].(string); event["protocol"] == "smtps" {
			addresses["implicit TLS"] = address
		} else {
			addresses["clear"], addresses["STARTTLS"] = address, address
		}
	}
	return addresses
}

// tenantThatTakes returns the configuration of a tenant that takes content by DATA, or
// else by BDAT.
func tenantThatTakes(t *testing.T, command string) tenant.Config {
	config := tenantConfig(t)
	config.Extensions = slices.DeleteFunc(slices.Clone(tenant.Extensions), func(each string) bool {
		return each == "CHUNKING" && command == "DATA"
	})
	return config
}

// TestRandomContent_ArrivesAsSent sends random content in clear, after STARTTLS and
// under implicit TLS, by DATA and by BDAT, to an upstream that supports only DATA and
// one that supports BDAT.
func TestRandomContent_ArrivesAsSent(t *testing.T) {
	seed, modes := rand.Uint64(), []string{"clear", "STARTTLS", "implicit TLS"}
	t.Logf("seed %d", seed)
	perWay := messagesOfContentTest(t) / (2 * 2 * len(modes))
	for _, upstreamCommand := range []string{"DATA", "BDAT"} {
		t.Run("upstream "+upstreamCommand, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			upstream := startTenant(t, tenantThatTakes(t, upstreamCommand))
			s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, smtps: "127.0.0.2:0",
				limits: "connections_per_client = 50\nline = \"1MiB\"\ntransactions = 100000"}, clientCertificate(t, authority()))
			addresses, sent := s.addressesByMode(), 0
			for _, mode := range modes {
				c := dialContentClient(t, addresses[mode], mode)
				for command, send := range map[string]func(*testing.T, *rand.Rand, string) string{"DATA": c.data, "BDAT": c.bdat} {
					for range perWay {
						content := randomContent(random)
						c.command(t, 250, "MAIL FROM:<"+sender+">")
						c.command(t, 250, "RCPT TO:<"+recipient+">")
						want := delivered(send(t, random, content))
						sent++
						messages := upstream.Messages()
						if len(messages) != sent {
							t.Fatalf("%s, %s, %q: got %d messages, want %d", mode, command, content, len(messages), sent)
						}
						if got := withoutTrace(messages[sent-1].Content); got != want {
							t.Fatalf("%s, %s, %q: got %q, want %q", mode, command, content, got, want)
						}
					}
				}
			}
			t.Logf("%d messages", sent)
		})
	}
}

var traceField = regexp.MustCompile(`^Received: .*\r\n(\t.*\r\n)*`)

// withoutTrace returns a content without the relay's trace field.
func withoutTrace(content []byte) string {
	return string(content[len(traceField.Find(content)):])
}
