package lan

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/header"
	"sealpost/relay/journal"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

// client is an SMTP client that sends exactly the given octets.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

var modes = []string{"clear", "STARTTLS", "implicit TLS"}

// connect opens a session up to EHLO.
func connect(t *testing.T, s *Server, address, mode string) *client {
	t.Helper()
	c := &client{t: t, conn: dial(t, address)}
	tlsConfig := &tls.Config{InsecureSkipVerify: true}
	if mode == "implicit TLS" {
		c.conn = tls.Client(c.conn, tlsConfig)
	}
	c.r = bufio.NewReader(c.conn)
	c.expect(220)
	c.command(250, "EHLO device")
	if mode == "STARTTLS" {
		c.command(220, "STARTTLS")
		c.conn = tls.Client(c.conn, tlsConfig)
		c.r = bufio.NewReader(c.conn)
		c.command(250, "EHLO device")
	}
	return c
}

func (c *client) expect(code int) reply.Reply {
	c.t.Helper()
	got, err := reply.Read(c.r, func(string) {})
	if err != nil || got.Code != code {
		c.t.Fatalf("got %v, %v; want %d", got, err, code)
	}
	return got
}

func (c *client) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) command(code int, line string) reply.Reply {
	c.t.Helper()
	c.write(line + "\r\n")
	return c.expect(code)
}

// envelope begins a transaction.
func (c *client) envelope() {
	c.t.Helper()
	c.command(250, "MAIL FROM:<a@contoso.com>")
	c.command(250, "RCPT TO:<b@fabrikam.example>")
}

// bdat sends content in chunks of random sizes.
func (c *client) bdat(random *rand.Rand, content string) {
	c.t.Helper()
	for {
		n := random.IntN(len(content) + 1)
		last := ""
		if random.IntN(3) == 0 || n == len(content) {
			n, last = len(content), " LAST"
		}
		c.write(fmt.Sprintf("BDAT %d%s\r\n%s", n, last, content[:n]))
		c.expect(250)
		if content = content[n:]; last != "" {
			return
		}
	}
}

// serveBoth serves with and without implicit TLS, and returns the addresses by mode.
func serveBoth(t *testing.T, d *fakeAcceptor) (*Server, map[string]string) {
	t.Helper()
	s, address := start(t, d, func(c *Config) { c.Limits.Transactions, c.Limits.Line = 1<<20, 1<<20 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTLS(l) }()
	return s, map[string]string{"clear": address, "STARTTLS": address, "implicit TLS": l.Addr().String()}
}

// randomContent returns content made of sequences that parsers often mishandle.
func randomContent(random *rand.Rand) string {
	pieces := []string{"a", ".", "\r", "\n", "\r\n", "\r\n", "\r\r\n", "\r\n.", ".\r\n", "\n.\n", "QUIT\r\n", "STARTTLS\r\n", "BDAT 1 LAST\r\n", "\x00", "é", " "}
	var b strings.Builder
	for range random.IntN(40) {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// stuffed is content as DATA carries it (RFC 5321 section 4.5.2).
func stuffed(content string) string {
	content = strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
	if content != "" && !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	return content + ".\r\n"
}

var testTrace = regexp.MustCompile(`^Received: .*\r\n.* id (\w+);\r\n\t(.*)\r\n`)

// asReceived returns a message as the next hop must get it after content was sent. got is
// what it got, for the ID and the time in the trace field.
func asReceived(t *testing.T, content, got string) string {
	t.Helper()
	trace := testTrace.FindStringSubmatch(got)
	if trace == nil {
		t.Fatalf("%q: got %q", content, got)
	}
	date, err := time.Parse(time.RFC1123Z, trace[2])
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	r := header.NewRepairer(&b, header.Repairs{Sender: "a@contoso.com", Date: date, MessageID: trace[1] + "@relay.contoso.com"})
	n := body.NewNormaliser(r, 1<<20)
	if _, err := io.WriteString(n, content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	return trace[0] + b.String()
}

// TestContent_IsTheSameByDATAAndBDAT sends random content in clear text and under TLS.
func TestContent_IsTheSameByDATAAndBDAT(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			d := &fakeAcceptor{}
			s, addresses := serveBoth(t, d)
			c := connect(t, s, addresses[mode], mode)
			for i := range 100 {
				content := randomContent(random)
				for _, chunked := range []bool{false, true} {
					c.envelope()
					sent := content
					if chunked {
						c.bdat(random, content)
					} else {
						c.command(354, "DATA")
						c.write(stuffed(content))
						c.expect(250)
						// DATA cannot carry a last line without its end.
						if content != "" && !strings.HasSuffix(content, "\r\n") {
							sent += "\r\n"
						}
					}
					_, contents := d.messages()
					if len(contents) != 2*i+1 && chunked == false || len(contents) != 2*i+2 && chunked {
						t.Fatalf("%q, BDAT %v: got %d messages, want %d and one more by BDAT", content, chunked, len(contents), 2*i+1)
					}
					got := contents[len(contents)-1]
					if want := asReceived(t, sent, got); got != want {
						t.Fatalf("%q, BDAT %v: got %q, want %q", content, chunked, got, want)
					}
				}
			}
			c.command(221, "QUIT")
		})
	}
}

// TestDATA_EndsAtCRLFUnderTLSAlso sends a CR CR LF before the final dot and before a
// stuffed dot.
func TestDATA_EndsAtCRLFUnderTLSAlso(t *testing.T) {
	for _, mode := range modes {
		d := &fakeAcceptor{}
		s, addresses := serveBoth(t, d)
		c := connect(t, s, addresses[mode], mode)
		for _, content := range []string{"\r\r\n.\r\n", "a\r\r\n..x\r\n.\r\n"} {
			c.envelope()
			c.command(354, "DATA")
			c.write(content)
			c.expect(250)
		}
		_, contents := d.messages()
		if len(contents) != 2 || !strings.HasSuffix(contents[1], "a\r\n.x\r\n") {
			t.Errorf("%s: got %q", mode, contents)
		}
	}
}

// TestSession_EndsAfterAFailedHandshake has a client that continues in clear text
// instead of the TLS handshake.
func TestSession_EndsAfterAFailedHandshake(t *testing.T) {
	d := &fakeAcceptor{}
	s, addresses := serveBoth(t, d)
	c := connect(t, s, addresses["clear"], "clear")
	c.command(220, "STARTTLS")
	c.write("MAIL FROM:<a@contoso.com>\r\nRCPT TO:<b@fabrikam.example>\r\nDATA\r\nfirst\r\n.\r\n")
	rest, _ := io.ReadAll(c.conn)
	if strings.Contains(string(rest), "250") {
		t.Errorf("got %q after the end of the session, want nothing", rest)
	}
	if _, contents := d.messages(); len(contents) > 0 {
		t.Errorf("got %q", contents)
	}
}

// TestSTARTTLS_ForgetsWhatCameBefore sends an envelope before STARTTLS, as an attacker
// could.
func TestSTARTTLS_ForgetsWhatCameBefore(t *testing.T) {
	s, addresses := serveBoth(t, &fakeAcceptor{})
	c := connect(t, s, addresses["clear"], "clear")
	c.envelope()
	c.command(220, "STARTTLS")
	c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	c.r = bufio.NewReader(c.conn)
	c.command(502, "DATA")
	c.command(503, "MAIL FROM:<a@contoso.com>")
	if r := c.command(250, "EHLO device"); strings.Contains(r.Text, "STARTTLS") {
		t.Errorf("got %q", r.Text)
	}
	c.command(503, "STARTTLS")
	c.envelope()
}

// TestBDAT_OfUnknownSizeEndsTheSession shows that no content is read as commands.
func TestBDAT_OfUnknownSizeEndsTheSession(t *testing.T) {
	for _, size := range []string{"4294967296", "99999999999999999999", "-1", "x", ""} {
		d := &fakeAcceptor{}
		s, addresses := serveBoth(t, d)
		c := connect(t, s, addresses["clear"], "clear")
		c.envelope()
		c.write("BDAT " + size + "\r\nRSET\r\nMAIL FROM:<a@contoso.com>\r\nRCPT TO:<evil@fabrikam.example>\r\nDATA\r\n.\r\n")
		rest, _ := io.ReadAll(c.conn)
		if n := strings.Count(string(rest), "\r\n"); n != 1 || rest[0] != '5' {
			t.Errorf("BDAT %s: got %q", size, rest)
		}
		if _, contents := d.messages(); len(contents) > 0 {
			t.Errorf("BDAT %s: got %q", size, contents)
		}
	}
}

// TestBDAT_RefusedIsDiscarded has a chunk that looks like commands, and lines that
// are too long for a command.
func TestBDAT_RefusedIsDiscarded(t *testing.T) {
	s, addresses := serveBoth(t, &fakeAcceptor{})
	for _, mode := range modes {
		c := connect(t, s, addresses[mode], mode)
		chunk := "STARTTLS\r\nQUIT\r\n" + strings.Repeat("x", 3<<20) + "\r\n"
		c.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(chunk), chunk))
		c.expect(502) // without RCPT
		c.envelope()
		c.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(chunk), chunk))
		c.expect(552)
		c.envelope()
		c.write("BDAT 10 LAST\r\nSTARTTLS\r\n")
		c.expect(250)
		c.command(221, "QUIT")
	}
}

// TestSession_WaitsOnceForAStalledContent compares the wait with the idle timeout.
func TestSession_WaitsOnceForAStalledContent(t *testing.T) {
	const idle = 500 * time.Millisecond
	_, address := start(t, &fakeAcceptor{}, func(c *Config) { c.Limits.Idle = idle })
	c := connect(t, nil, address, "clear")
	c.envelope()
	c.command(354, "DATA")
	begun := time.Now()
	c.write("Subject: x\r\n")
	c.expect(451)
	if waited := time.Since(begun); waited > idle*9/5 {
		t.Errorf("got a reply after %v, want about %v", waited, idle)
	}
}

// TestDATA_WithoutCRLFAtItsEndIsRefusedWithinSeconds sends content as devices do that
// do not end lines with CR LF.
func TestDATA_WithoutCRLFAtItsEndIsRefusedWithinSeconds(t *testing.T) {
	for _, content := range []string{"Subject: x\n\nx\n.\n", "Subject: x\r\n\r\nx\n.\r\n", "Subject: x\r\rx\r.\r", "x\r\r\n.\r\r\n", ".\n"} {
		t.Run(strconv.Quote(content), func(t *testing.T) {
			t.Parallel()
			d := &fakeAcceptor{}
			_, address := start(t, d, nil)
			c := connect(t, nil, address, "clear")
			c.envelope()
			c.command(354, "DATA")
			begun := time.Now()
			c.write(content)
			if r := c.expect(554); !strings.Contains(r.Text, "CR LF") {
				t.Errorf("got %q", r.Text)
			}
			if waited := time.Since(begun); waited > 3*bareDotTimeout {
				t.Errorf("got a reply after %v, want at most %v", waited, 3*bareDotTimeout)
			}
			if _, err := c.r.ReadByte(); err != io.EOF {
				t.Errorf("got %v, want a closed session", err)
			}
			if _, contents := d.messages(); len(contents) > 0 {
				t.Errorf("got %q", contents)
			}
		})
	}
}

// TestDATA_RefusedAtItsBeginningIsReadToItsEnd sends content that looks like commands,
// and is too large from its first octet.
func TestDATA_RefusedAtItsBeginningIsReadToItsEnd(t *testing.T) {
	for _, content := range []string{"AUTH PLAIN x", "STARTTLS", "BDAT x", "BDAT 100 LAST", "QUIT", "MAIL FROM:<a@contoso.com>\r\nRCPT TO:<evil@fabrikam.example>\r\nDATA"} {
		d := &fakeAcceptor{size: 1}
		s, addresses := serveBoth(t, d)
		c := connect(t, s, addresses["clear"], "clear")
		c.envelope()
		c.command(354, "DATA")
		c.write(content + "\r\n.\r\n")
		if r := c.expect(452); !strings.Contains(r.Text, "no room for more") {
			t.Errorf("%q: got %v", content, r)
		}
		c.command(250, "NOOP")
		c.envelope()
		if _, contents := d.messages(); len(contents) > 0 {
			t.Errorf("%q: got %q", content, contents)
		}
	}
}

// TestBDAT_AbortedIsFollowedByNoMessage sends each command that aborts a BDAT transfer.
func TestBDAT_AbortedIsFollowedByNoMessage(t *testing.T) {
	for _, command := range []string{"RSET", "EHLO device", "HELO device"} {
		s, addresses := serveBoth(t, &fakeAcceptor{})
		for range 20 {
			c := connect(t, s, addresses["clear"], "clear")
			c.envelope()
			c.write("BDAT 3\r\nabc")
			c.expect(250)
			c.command(250, command)
			c.command(421, "MAIL FROM:<a@contoso.com>")
			_ = c.conn.Close()
		}
	}
}

// TestBDAT_WithALongArgumentIsReadWhole has a command line that takes several reads.
func TestBDAT_WithALongArgumentIsReadWhole(t *testing.T) {
	d := &fakeAcceptor{}
	s, addresses := serveBoth(t, d)
	c := connect(t, s, addresses["clear"], "clear")
	c.envelope()
	c.write("BDAT " + strings.Repeat(" ", 9000) + "6 LAST\r\nQUIT\r\n")
	c.expect(250)
	c.command(250, "NOOP")
	if _, contents := d.messages(); len(contents) != 1 || !strings.HasSuffix(contents[0], "QUIT\r\n") {
		t.Errorf("got %q", contents)
	}
}

// TestJournal_HasNoPasswordsOfClients has a client that does not wait for the reply to
// AUTH.
func TestJournal_HasNoPasswordsOfClients(t *testing.T) {
	var log strings.Builder
	config := Config{Hostname: "relay.contoso.com", Limits: testLimits, TLS: &tls.Config{}}
	s := newSessions(&config, journal.New(journal.Text(&log, true)))
	server, client := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	c := newClientConn(server, policy.Client{Address: netip.MustParseAddr("192.0.2.1")}, policy.Access{}, s)
	c.server = &Server{config: config, policy: &policy.Policy{}}
	for _, line := range []string{"AUTH PLAIN c2VjcmV0", "AUTH\tLOGIN c2VjcmV0", "c2VjcmV0", "c2VjcmV0 c2VjcmV0"} {
		if _, err := c.command([]byte(line + "\r\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("500 5.5.2 no\r\n"))
	}
	_ = client.Close()
	_ = c.Close()
	if strings.Contains(log.String(), "c2VjcmV0") || !strings.Contains(log.String(), "command refused") {
		t.Errorf("got %s", log.String())
	}
}

// TestJournal_NamesDATAIfTheMessageIsRefused checks the command of a reply to content.
func TestJournal_NamesDATAIfTheMessageIsRefused(t *testing.T) {
	var log strings.Builder
	config := Config{Hostname: "relay.contoso.com", Limits: testLimits, TLS: &tls.Config{}}
	s := newSessions(&config, journal.New(journal.Text(&log, true)))
	server, client := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	c := newClientConn(server, policy.Client{Address: netip.MustParseAddr("192.0.2.1")}, policy.Access{}, s)
	if _, err := c.command([]byte(".\r\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("550 5.1.1 no such user\r\n"))
	_ = client.Close()
	_ = c.Close()
	if !strings.Contains(log.String(), "command=DATA") {
		t.Errorf("got %s", log.String())
	}
}

// TestJournal_HasOneEventForEachMessageThatWasRepaired sends one that is complete and
// others that are not.
func TestJournal_NamesTheRepairsOfAMessage(t *testing.T) {
	const complete = "Date: Thu, 26 Nov 2026 09:00:00 +0100\r\nTo: b@fabrikam.example\r\nMessage-ID: <1@device>\r\nFrom: a@contoso.com\r\n"
	for content, want := range map[string]string{
		complete + "\r\nGrüße":          "",
		complete + "\r\n\x00":           `["nul removed"]`,
		complete + "Subject: ü\r\n\r\n": `["header encoded"]`,
		"Hello":                         `["date added","from added","destination added","message-id added","header added"]`,
	} {
		var log lockedLog
		s, address := startWithJournal(t, &fakeAcceptor{}, nil, journal.New(journal.JSON(&log, false)))
		c := connect(t, s, address, "clear")
		c.envelope()
		c.command(354, "DATA")
		c.write(stuffed(content))
		c.expect(250)
		_, repairs, found := strings.Cut(log.String(), `"repairs":`)
		if found != (want != "") || !strings.HasPrefix(repairs, want) {
			t.Errorf("%q: got %s, want %s", content, log.String(), want)
		}
	}
}

// lockedLog is a log that can be read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
