package endtoend

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/tenant"
)

// What a restricted device may use, and what it must not reach.
const (
	ownSender    = "scan@contoso.com"
	ownRecipient = "alice@contoso.com"
	victim       = "victim@fabrikam.example"
)

// What becomes of a trial from inside. Nothing of one from outside is ever sent.
const (
	refused   = "refused"
	delivered = "delivered" // from the device's own sender to its own recipient only
)

// trial is a dialogue that tries to reach a foreign recipient, or to send as a foreign
// sender.
type trial struct {
	name  string
	first string   // is sent before the greeting is read
	steps []string // commands; see player
	want  string
}

// Steps that are not one command: what is written as it is, without a wait for a reply;
// and the beginning of TLS.
const (
	raw      = "\x01raw"
	beginTLS = "\x01tls"
)

const content = "\x01content" // the content of the message, after DATA

// restrictedSettings are those of the devices that try.
const restrictedSettings = `
[[device]]
address = "127.30.0.0/16"
senders = ["` + ownSender + `"]
recipients = ["own"]
connections = 100
`

// TestOpenRelay_ReachesNoForeignRecipient plays every trial from a restricted device, from
// an address outside lan.allow, from one that must log in first, and by IPv6. The listener
// is of IPv6, so that it sees the IPv4 addresses mapped into it.
func TestOpenRelay_ReachesNoForeignRecipient(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := newSite(t, siteConfig{host: "localhost", port: upstream.Address().Port, protection: "file", listen: "[::]:0", allow: "127.30.0.0/16", more: restrictedSettings})
	s.importPFX(clientCertificate(t, authority()))
	for name, option := range map[string]string{"remote": "--client=127.32.0.0/24", "elsewhere": "--client=127.33.0.1", "free": "--sender=@contoso.com"} {
		if result := s.run("user", "add", name, "--password-file", s.path("password"), option); result.Status != 0 {
			t.Fatalf("%+v", result)
		}
	}
	s.start()
	trials := slices.Concat(recipientTrials(), senderTrials(), sessionTrials(), headerTrials())
	origins := []string{"127.30.0.%d", "127.31.0.%d", "127.32.0.%d", "::1"}
	last := make([][]string, len(trials)) // the reply that ended each, by origin
	const atOnce = 24
	slots := make(chan struct{}, atOnce)
	var playing sync.WaitGroup
	for n, one := range trials {
		last[n] = make([]string, len(origins))
		for o, origin := range origins {
			slots <- struct{}{}
			playing.Go(func() {
				defer func() { <-slots }()
				last[n][o] = s.try(one, strings.ReplaceAll(origin, "%d", strconv.Itoa(n+1)))
			})
		}
	}
	playing.Wait()
	messages := upstream.Messages()
	for n, one := range trials {
		got := refused
		if slices.ContainsFunc(messages, func(m tenant.Message) bool { return strings.Contains(string(m.Content), one.marker()) }) {
			got = delivered
		}
		t.Logf("%-45s %-10s inside: %.90s", one.name, got, last[n][0])
		if got != one.want {
			t.Errorf("%s: got %s, want %s; the last reply was %q", one.name, got, one.want, last[n][0])
		}
		for _, o := range []int{1, 3} {
			if reply := last[n][o]; !strings.HasPrefix(reply, "554 5.7.1 relay.contoso.com does not relay for ") {
				t.Errorf("%s from outside, %s: got %q, want 554", one.name, origins[o], reply)
			}
		}
	}
	for _, m := range messages {
		if err := checkRestricted(m); err != nil {
			t.Errorf("%v\n%s", err, m.Content)
		}
	}
	t.Logf("%d trials from %d origins, %d messages", len(trials), len(origins), len(messages))
}

// marker is a text in the content of a trial.
func (o trial) marker() string { return "[" + o.name + "]" }

// checkRestricted checks what the tenant got: the envelope, and the authors in the header.
func checkRestricted(m tenant.Message) error {
	if !strings.EqualFold(m.Sender, ownSender) && m.Sender != "" {
		return fmt.Errorf("got a message of %q, want %s", m.Sender, ownSender)
	}
	for _, to := range m.Recipients {
		if !strings.EqualFold(to, ownRecipient) {
			return fmt.Errorf("got a message to %q, want %s", to, ownRecipient)
		}
	}
	if !strings.Contains(string(m.Content), "([127.30.0.") {
		return fmt.Errorf("got a message from outside")
	}
	parsed, err := mail.ReadMessage(strings.NewReader(string(m.Content)))
	if err != nil {
		return fmt.Errorf("a header that cannot be read: %w", err)
	}
	if got := len(parsed.Header["From"]); got != 1 {
		return fmt.Errorf("got %d fields From, want 1", got)
	}
	for _, field := range []string{"From", "Sender"} {
		if parsed.Header.Get(field) == "" {
			continue
		}
		authors, err := parsed.Header.AddressList(field)
		if err != nil || len(authors) != 1 || authors[0].Address != ownSender {
			return fmt.Errorf("got %v, %v in %s, want %s", authors, err, field, ownSender)
		}
	}
	// A lenient reader may see fields that net/mail does not. Names are no addresses.
	header, _, _ := strings.Cut(string(m.Content), "\r\n\r\n")
	for _, line := range strings.FieldsFunc(header, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			continue // folded
		}
		name, value, _ := strings.Cut(strings.ToLower(line), ":")
		name = strings.TrimFunc(name, func(r rune) bool { return r < 'a' || r > 'z' })
		if (name == "from" || name == "sender") && strings.Contains(nameText.ReplaceAllString(value, ""), "fabrikam") {
			return fmt.Errorf("got the line %q", line)
		}
	}
	return nil
}

// nameText matches a name in quotes or as an encoded word.
var nameText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|=\?[^?]*\?[^?]*\?[^?]*\?=`)

// try plays a trial from an address, and returns the last reply, or the one to the greeting
// if that refuses the client.
func (s *site) try(one trial, from string) (last string) {
	_, port, _ := net.SplitHostPort(s.address())
	to := "127.0.0.1"
	if strings.Contains(from, ":") {
		to = "::1"
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(to, port))
	if err != nil {
		s.t.Error(err)
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := player{conn: conn, r: textproto.NewReader(bufio.NewReader(conn))}
	_, _ = io.WriteString(conn, one.first)
	if !p.read() {
		return p.last
	}
	for _, step := range one.steps {
		if !p.play(step, one.marker()) {
			return p.last
		}
	}
	// What was pipelined, or smuggled, is carried out before this.
	_, _ = io.WriteString(p.conn, "QUIT\r\n")
	for p.read() {
	}
	return p.last
}

// player plays the steps of a trial.
type player struct {
	conn net.Conn
	r    *textproto.Reader
	last string // reply
}

// read reads one reply, and reports whether there was one that does not end the session.
func (p *player) read() bool {
	code, text, err := p.r.ReadResponse(0)
	if code == 0 && err != nil || code == 221 {
		return false
	}
	p.last = fmt.Sprintf("%d %s", code, strings.ReplaceAll(text, "\n", " "))
	return code != 421 && code != 554
}

// play plays one step, and reports whether the trial goes on.
func (p *player) play(step, marker string) bool {
	if octets, is := strings.CutPrefix(step, raw); is {
		_, err := io.WriteString(p.conn, strings.ReplaceAll(octets, "MARKER", marker))
		return err == nil
	}
	if step == beginTLS {
		secure := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
		if err := secure.Handshake(); err != nil {
			return false
		}
		p.conn, p.r = secure, textproto.NewReader(bufio.NewReader(secure))
		return true
	}
	if header, is := strings.CutPrefix(step, content); is {
		if !strings.HasPrefix(p.last, "354") {
			return false
		}
		step = header + "X-Trial: " + marker + "\r\n\r\n" + marker + "\r\n."
	}
	_, err := io.WriteString(p.conn, step+"\r\n")
	return err == nil && p.read()
}
