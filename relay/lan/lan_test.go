package lan

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
	"sealpost/tests/rigs/dialogue"
	"sealpost/tests/rigs/parts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAcceptor is an Acceptor that records messages.
type fakeAcceptor struct {
	mu        sync.Mutex
	envelopes []envelope.Envelope
	contents  []string
	reply     reply.Reply
	wait      chan struct{} // closed when Accept may return; nil means at once
	full      bool          // Admit rejects every message
	size      int           // maximum octets of a message; 0 = no limit
	open      int           // messages neither accepted nor abandoned
}

func (d *fakeAcceptor) Admit(envelope.Envelope, int64) reply.Reply {
	if d.full {
		return reply.New(452, 3, 1, "no room")
	}
	return reply.New(250, 0, 0, "")
}

func (d *fakeAcceptor) Begin(envelope.Envelope, int64) Incoming {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	return &fakeIncoming{acceptor: d}
}

// fakeIncoming is a message being received by a fakeAcceptor.
type fakeIncoming struct {
	acceptor *fakeAcceptor
	text     strings.Builder
}

func (f *fakeIncoming) Write(p []byte) (int, error) {
	if f.acceptor.size > 0 && f.text.Len()+len(p) > f.acceptor.size {
		return 0, &reply.Error{Reply: reply.New(452, 3, 1, "no room for more")}
	}
	return f.text.Write(p)
}

func (f *fakeIncoming) Abandon() {
	f.acceptor.mu.Lock()
	defer f.acceptor.mu.Unlock()
	f.acceptor.open--
}

func (f *fakeIncoming) Accept(ctx context.Context, e envelope.Envelope) reply.Reply {
	d := f.acceptor
	d.mu.Lock()
	d.envelopes, d.contents = append(d.envelopes, e), append(d.contents, f.text.String())
	d.open--
	d.mu.Unlock()
	if d.wait != nil {
		select {
		case <-d.wait:
		case <-ctx.Done():
			return reply.New(451, 3, 2, "stopping")
		}
	}
	return d.reply
}

func (d *fakeAcceptor) messages() ([]envelope.Envelope, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.envelopes, d.contents
}

// unfinished is the number of messages neither accepted nor abandoned.
func (d *fakeAcceptor) unfinished() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

var testLimits = Limits{MessageSize: 20000, Recipients: 3, Line: 1000, Connections: 4, PerClient: 3,
	Transactions: 3, Session: time.Minute, Idle: 30 * time.Second}

var ownCertificate = sync.OnceValue(func() tls.Certificate {
	authority, err := parts.NewAuthority("test")
	if err != nil {
		panic(err)
	}
	certificate, err := authority.IssueP256(nil, "relay.contoso.com")
	if err != nil {
		panic(err)
	}
	return certificate
})

func start(t *testing.T, d *fakeAcceptor, change func(*Config)) (*Server, string) {
	t.Helper()
	return startWithJournal(t, d, change, journal.Discard())
}

// testPolicy is the policy of most tests.
func testPolicy() *policy.Policy {
	return &policy.Policy{Hostname: "relay.contoso.com", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/15")}, AcceptedDomains: []string{"contoso.com"}, DefaultSender: "box@contoso.com"}
}

func startWithJournal(t *testing.T, d *fakeAcceptor, change func(*Config), j *journal.Journal) (*Server, string) {
	t.Helper()
	return startWithPolicy(t, d, change, testPolicy(), j)
}

func startWithPolicy(t *testing.T, d *fakeAcceptor, change func(*Config), p *policy.Policy, j *journal.Journal) (*Server, string) {
	t.Helper()
	if d.reply.Code == 0 {
		d.reply = reply.New(250, 0, 0, "taken")
	}
	config := Config{
		Hostname: "relay.contoso.com", Limits: testLimits,
		TLS: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}},
	}
	if change != nil {
		change(&config)
	}
	s := New(config, p, d, j)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		serving.Wait()
	})
	return s, l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestServer_PlaysTheDialogues(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.dialogue")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("got no dialogues: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			_, address := start(t, &fakeAcceptor{}, nil)
			if err := dialogue.Play(dial(t, address), script); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSession_AddsTheTraceFieldAndWhatIsMissing(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, nil)
	if err := dialogue.Play(dial(t, address), "testdata/plain.dialogue"); err != nil {
		t.Fatal(err)
	}
	envelopes, contents := d.messages()
	if len(envelopes) != 1 {
		t.Fatalf("got %d messages, want 1", len(envelopes))
	}
	e := envelopes[0]
	if e.Sender != "printer@contoso.com" || len(e.Recipients) != 1 || e.Recipients[0] != "alice@fabrikam.example" ||
		e.Client.String() != "127.0.0.1" || e.Size != int64(len(contents[0])) {
		t.Errorf("got envelope %+v", e)
	}
	trace, content, _ := strings.Cut(contents[0], "Subject:")
	want := "Received: from printer-2 ([127.0.0.1])\r\n\tby relay.contoso.com (Sealpost) with ESMTP id " + e.ID + ";\r\n\t"
	if !strings.HasPrefix(trace, want) {
		t.Errorf("got trace field %q", trace)
	}
	fields, text, _ := strings.Cut(content, "\r\n\r\n")
	added := regexp.MustCompile(`^ scan\r\nDate: .*\r\nFrom: printer@contoso.com\r\nTo: undisclosed-recipients:;\r\nMessage-ID: <` + e.ID + `@relay.contoso.com>$`)
	if !added.MatchString(fields) || text != ".a line that begins with a dot\r\n" {
		t.Errorf("got content %q", content)
	}
}

func TestSession_ReplacesAForeignSender(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, nil)
	send(t, dial(t, address), "root@localhost")
	if envelopes, _ := d.messages(); len(envelopes) != 1 || envelopes[0].Sender != "box@contoso.com" {
		t.Errorf("got %+v", envelopes)
	}
}

// send sends one message and returns the final reply.
func send(t *testing.T, conn net.Conn, sender string) string {
	t.Helper()
	r := bufio.NewReader(conn)
	var last string
	for _, line := range []string{"", "EHLO device", "MAIL FROM:<" + sender + ">", "RCPT TO:<a@fabrikam.example>", "DATA", "Subject: x\r\n\r\nx\r\n."} {
		if line != "" {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := reply.Read(r, func(string) {})
		if err != nil {
			t.Fatalf("after %q: got error %v", line, err)
		}
		last = got.String()
	}
	return last
}

func TestReply_ReachesTheClientUnchanged(t *testing.T) {
	for _, want := range []reply.Reply{
		reply.New(451, 4, 1, "cannot reach the tenant"),
		reply.New(550, 7, 64, "TenantAttribution\nno connector matches"),
		reply.New(250, 0, 0, "accepted by the tenant"),
	} {
		_, address := start(t, &fakeAcceptor{reply: want}, nil)
		if got := send(t, dial(t, address), "a@contoso.com"); got != want.String() {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReply_HasTruncatedLines(t *testing.T) {
	_, address := start(t, &fakeAcceptor{reply: reply.New(550, 1, 1, "%s\n%s", strings.Repeat("é", 1000), "short")}, nil)
	got := send(t, dial(t, address), "a@contoso.com")
	if len(got) > 600 || !strings.HasSuffix(got, "é ... short") {
		t.Errorf("got %d octets: %q", len(got), got)
	}
}

func TestAdmission_RejectsForeignNetworks(t *testing.T) {
	_, address := start(t, &fakeAcceptor{}, nil)
	_, port, _ := net.SplitHostPort(address)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 0, 2)}}
	conn, err := dialer.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	all, _ := io.ReadAll(conn)
	want := "554 5.7.1 relay.contoso.com does not relay for 127.9.0.2: add its network to lan.allow\r\n"
	if string(all) != want {
		t.Errorf("got %q", all)
	}
}

func TestAdmission_LimitsConnectionsPerClient(t *testing.T) {
	_, address := start(t, &fakeAcceptor{}, nil)
	var last net.Conn
	for i := range testLimits.PerClient {
		conn := dial(t, address)
		if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "220") {
			t.Fatalf("connection %d: got %q", i, line)
		}
		last = conn
	}
	extra := dial(t, address)
	if all, _ := io.ReadAll(extra); !strings.HasPrefix(string(all), "421 4.7.0 too many connections from 127.0.0.1") {
		t.Errorf("extra connection: got %q", all)
	}
	_, _ = io.WriteString(last, "QUIT\r\n")
	_, _ = io.ReadAll(last)
	if line, _ := bufio.NewReader(dial(t, address)).ReadString('\n'); !strings.HasPrefix(line, "220") {
		t.Errorf("after one closed: got %q", line)
	}
}

func TestSession_TimesOut(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"silent":  func(l *Limits) { l.Idle = 50 * time.Millisecond },
		"endless": func(l *Limits) { l.Session = 50 * time.Millisecond },
	} {
		_, address := start(t, &fakeAcceptor{}, func(c *Config) { change(&c.Limits) })
		all, err := io.ReadAll(dial(t, address))
		if err != nil || !strings.Contains(string(all), "\n421 4.4.2 ") {
			t.Errorf("%s: got %q, %v", name, all, err)
		}
	}
}

func TestTLSFirst_WorksFromTheFirstAttempt(t *testing.T) {
	_, address := start(t, &fakeAcceptor{}, nil)
	overTLS := func(from string) error {
		conn := tls.Client(dialFrom(t, from, address), &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			return err
		}
		if got := send(t, conn, "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
			t.Errorf("got %q", got)
		}
		return conn.Close()
	}
	plain := func(from string) {
		conn := dialFrom(t, from, address)
		defer conn.Close()
		if got := send(t, conn, "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
			t.Errorf("plain client of %s: got %q", from, got)
		}
	}
	for range 3 {
		if err := overTLS("127.0.0.2"); err != nil {
			t.Errorf("a device that begins with TLS: got %v", err)
		}
		plain("127.0.0.2")
	}
	// An address whose first clients were plain is recognised from its second attempt.
	plain("127.0.0.3")
	if err := overTLS("127.0.0.3"); err == nil {
		t.Error("TLS of a plain address: got a handshake at the first attempt, want an error")
	}
	// The relay reads the ClientHello shortly after the device gave up.
	for deadline := time.Now().Add(10 * time.Second); overTLS("127.0.0.3") != nil; {
		if time.Now().After(deadline) {
			t.Fatal("got no TLS handshake within 10s, want the device recognised")
		}
	}
}

func TestHelloWait_HardlyDelaysPlainClients(t *testing.T) {
	s := newSessions(&Config{Limits: testLimits}, journal.Discard())
	c := newClientConn(nil, policy.Client{Address: netip.MustParseAddr("192.0.2.1")}, policy.Access{}, s)
	wait := func(name string, want time.Duration) {
		t.Helper()
		if got := s.clientHelloWait(c.listenerClient(), c.smtps); got != want {
			t.Errorf("%s: got a wait of %v, want %v", name, got, want)
		}
	}
	wait("unknown client", unknownWait)
	s.recordClientHello(c)
	wait("plain client", 0)
	c.recordLateClientHello()
	wait("after a late ClientHello", smtpsWait)
	s.recordClientHello(c)
	wait("after another plain client", mixedWait)
	c.secure.Store(true)
	s.recordClientHello(c)
	wait("after TLS again", tlsWait)
	s.tlsHistory[c.listenerClient()] = tlsHistory{0, time.Now().Add(-2 * tlsHistoryAge)}
	wait("last seen two days ago", unknownWait)
	c.listener, c.smtps = "another", true
	wait("unknown client on a port for implicit TLS", smtpsWait)
}

func TestServeTLS_UsesImplicitTLS(t *testing.T) {
	d := &fakeAcceptor{}
	s, _ := start(t, d, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTLS(l) }()
	conn := tls.Client(dial(t, l.Addr().String()), &tls.Config{InsecureSkipVerify: true})
	if got := send(t, conn, "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("got %q", got)
	}
	if envelopes, _ := d.messages(); len(envelopes) != 1 || envelopes[0].Protocol != "ESMTPS" {
		t.Errorf("got %+v", envelopes)
	}
}

func TestSession_DefersAMessageWithoutRoom(t *testing.T) {
	d := &fakeAcceptor{size: 100}
	_, address := start(t, d, nil)
	if got := send(t, dial(t, address), "a@contoso.com"); !strings.HasPrefix(got, "452 4.3.1 ") {
		t.Errorf("got %q, want 452 4.3.1", got)
	}
}

func TestMail_DefersAMessageWithoutRoom(t *testing.T) {
	_, address := start(t, &fakeAcceptor{full: true}, nil)
	conn := dial(t, address)
	_, _ = io.WriteString(conn, "EHLO x\r\nMAIL FROM:<a@contoso.com> SIZE=1000\r\nQUIT\r\n")
	if all, _ := io.ReadAll(conn); !strings.Contains(string(all), "\n452 4.3.1 no room") {
		t.Errorf("got %q", all)
	}
}

func TestShutdown_LetsTheCurrentMessageFinish(t *testing.T) {
	d := &fakeAcceptor{wait: make(chan struct{})}
	s, address := start(t, d, nil)
	idle := dial(t, address)
	replies := make(chan string)
	busy := dial(t, address)
	go func() { replies <- send(t, busy, "a@contoso.com") }()
	for envelopes, _ := d.messages(); len(envelopes) == 0; envelopes, _ = d.messages() {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("idle session: got %v", err)
	}
	close(d.wait)
	if got := <-replies; !strings.HasPrefix(got, "250 ") {
		t.Errorf("got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: got %v", err)
	}
}

// TestShutdown_EndsAServerThatJustBegins has Shutdown before, and while, a listener is
// served.
func TestShutdown_EndsAServerThatJustBegins(t *testing.T) {
	for range 20 {
		s := New(Config{Limits: testLimits}, testPolicy(), &fakeAcceptor{}, journal.Discard())
		var serving sync.WaitGroup
		for range 2 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			serving.Go(func() { _ = s.Serve(l) })
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		serving.Wait()
	}
}

func TestTraceName_RejectsHeaderInjection(t *testing.T) {
	for hello, want := range map[string]string{
		"printer":              "printer",
		"[192.168.1.5]":        "[192.168.1.5]",
		"x\r\nSubject: forged": "unknown",
		"a(b":                  "unknown",
		"":                     "unknown",
		"ü":                    "unknown",
	} {
		if got := traceName(hello); got != want {
			t.Errorf("%q: got %q", hello, got)
		}
	}
	if got := addressLiteral(netip.MustParseAddr("fe80::1%eth0")); got != "[IPv6:fe80::1]" {
		t.Errorf("got %q", got)
	}
}
