package endtoend

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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
			b.WriteString(strings.Repeat("x", random.IntN(1500)))
		}
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// completeHeader is a header to which nothing is added.
const completeHeader = "Date: Thu, 26 Nov 2026 09:00:00 +0100\r\nFrom: Hall <" + sender + ">\r\nTo: " + recipient + "\r\nMessage-ID: <1@device>\r\n\r\n"

// beginnings are what the contents of TestRandomContent_ArrivesAsSent begin with.
var beginnings = []string{completeHeader, "Subject: x\r\n\r\n", "No header\r\n"}

var (
	lineEndings = regexp.MustCompile(`\r*\n|\r`)
	trace       = regexp.MustCompile(`^Received: .*\r\n\tby (\S+) \(Sealpost\) with \w+ id (\w+);\r\n\t(.*)\r\n`)
)

// checkDelivered compares what arrived with what docs/content.md says of a content that
// begins like one of beginnings: NUL octets are removed, every line ends in CRLF, a header
// that lacks something gets the fields that are expected here, and a body with lines over
// 998 octets arrives in quoted-printable.
func checkDelivered(content, arrived string) error {
	content = lineEndings.ReplaceAllString(strings.ReplaceAll(content, "\x00", ""), "\r\n")
	if !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	field := trace.FindStringSubmatch(arrived)
	if field == nil {
		return fmt.Errorf("got %q without a trace field", arrived)
	}
	added := fmt.Sprintf("Date: %s\r\nFrom: %s\r\nTo: undisclosed-recipients:;\r\nMessage-ID: <%s@%s>\r\n", field[3], sender, field[2], field[1])
	header, body := added, content
	if strings.HasPrefix(content, completeHeader) || strings.HasPrefix(content, "Subject: ") {
		header, body, _ = strings.Cut(content, "\r\n\r\n")
		if header += "\r\n"; !strings.HasPrefix(content, completeHeader) {
			header += added
		}
	}
	gotHeader, gotBody, _ := strings.Cut(arrived[len(field[0]):], "\r\n\r\n")
	if slices.ContainsFunc(strings.Split(body, "\r\n"), func(line string) bool { return len(line) > 998 }) {
		header += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=" + charsetOf(body) + "\r\nContent-Transfer-Encoding: quoted-printable\r\n"
		decoded, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(gotBody)))
		if gotBody = string(decoded); err != nil {
			return err
		}
	}
	if gotHeader+"\r\n" != header || gotBody != body {
		return fmt.Errorf("got %q and %q, want %q and %q", gotHeader, gotBody, header, body)
	}
	return nil
}

func charsetOf(text string) string {
	switch {
	case strings.IndexFunc(text, func(r rune) bool { return r > 127 }) < 0:
		return "us-ascii"
	case utf8.ValidString(text):
		return "utf-8"
	}
	return "unknown-8bit"
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
						content := beginnings[random.IntN(len(beginnings))] + randomContent(random)
						c.command(t, 250, "MAIL FROM:<"+sender+">")
						c.command(t, 250, "RCPT TO:<"+recipient+">")
						content = send(t, random, content)
						sent++
						messages := upstream.Messages()
						if len(messages) != sent {
							t.Fatalf("%s, %s, %q: got %d messages, want %d", mode, command, content, len(messages), sent)
						}
						if err := checkDelivered(content, string(messages[sent-1].Content)); err != nil {
							t.Fatalf("%s, %s, %q: %v", mode, command, content, err)
						}
					}
				}
			}
			t.Logf("%d messages", sent)
		})
	}
}
