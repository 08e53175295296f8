package lan

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"path/filepath"
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

// desk is an Acceptor that keeps what it takes.
type desk struct {
	mu       sync.Mutex
	taken    []envelope.Envelope
	contents []string
	answer   reply.Reply
	hold     chan struct{} // closed when the desk may answer; nil means at once
	full     bool          // no message may come
	size     int           // octets of the largest form; 0 is any
	begun    int           // forms neither accepted nor abandoned
}

func (d *desk) Admit(envelope.Envelope, int64) reply.Reply {
	if d.full {
		return reply.New(452, 3, 1, "no room")
	}
	return reply.New(250, 0, 0, "")
}

func (d *desk) Begin(envelope.Envelope, int64) Incoming {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun++
	return &form{desk: d}
}

// form is a message on the desk. The desk takes forms of up to its size.
type form struct {
	desk *desk
	text strings.Builder
}

func (f *form) Write(p []byte) (int, error) {
	if f.desk.size > 0 && f.text.Len()+len(p) > f.desk.size {
		return 0, &reply.Error{Reply: reply.New(452, 3, 1, "no room for more")}
	}
	return f.text.Write(p)
}

func (f *form) Abandon() {
	f.desk.mu.Lock()
	defer f.desk.mu.Unlock()
	f.desk.begun--
}

func (f *form) Accept(ctx context.Context, e envelope.Envelope) reply.Reply {
	d := f.desk
	d.mu.Lock()
	d.taken, d.contents = append(d.taken, e), append(d.contents, f.text.String())
	d.begun--
	d.mu.Unlock()
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
			return reply.New(451, 3, 2, "stopping")
		}
	}
	return d.answer
}

func (d *desk) messages() ([]envelope.Envelope, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken, d.contents
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

func start(t *testing.T, d *desk, change func(*Config)) (*Server, string) {
	t.Helper()
	if d.answer.Code == 0 {
		d.answer = reply.New(250, 0, 0, "taken")
	}
	config := Config{
		Hostname: "relay.contoso.com", Limits: testLimits,
		TLS: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}},
	}
	if change != nil {
		change(&config)
	}
	p := policy.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AcceptedDomains: []string{"contoso.com"}, DefaultSender: "box@contoso.com"}
	s := New(config, p, d, journal.Discard())
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

func TestDevicesAreSpokenToAsTheDialoguesSay(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.dialogue")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			_, address := start(t, &desk{}, nil)
			if err := dialogue.Play(dial(t, address), script); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAMessageArrivesWithItsTraceFieldAndNothingElseChanged(t *testing.T) {
	d := &desk{}
	_, address := start(t, d, nil)
	if err := dialogue.Play(dial(t, address), "testdata/plain.dialogue"); err != nil {
		t.Fatal(err)
	}
	envelopes, contents := d.messages()
	if len(envelopes) != 1 {
		t.Fatalf("%d messages arrived", len(envelopes))
	}
	e := envelopes[0]
	if e.Sender != "printer@contoso.com" || len(e.Recipients) != 1 || e.Recipients[0] != "alice@fabrikam.example" ||
		e.Client.String() != "127.0.0.1" || e.Size != int64(len(contents[0])) {
		t.Errorf("the envelope is %+v", e)
	}
	trace, content, _ := strings.Cut(contents[0], "Subject:")
	want := "Received: from printer-2 ([127.0.0.1])\r\n\tby relay.contoso.com (Sealpost) with ESMTP id " + e.ID + ";\r\n\t"
	if !strings.HasPrefix(trace, want) {
		t.Errorf("the trace field is %q", trace)
	}
	if content != " scan\r\n\r\n.a line that begins with a dot\r\n" {
		t.Errorf("the content is %q", content)
	}
}

func TestAForeignSenderLeavesAsTheDefaultSender(t *testing.T) {
	d := &desk{}
	_, address := start(t, d, nil)
	send(t, dial(t, address), "root@localhost")
	if envelopes, _ := d.messages(); len(envelopes) != 1 || envelopes[0].Sender != "box@contoso.com" {
		t.Errorf("got %+v", envelopes)
	}
}

// send gives one message and returns the answer to it.
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
		answer, err := reply.Read(r, func(string) {})
		if err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		last = answer.String()
	}
	return last
}

func TestAnAnswerReachesTheClientWordForWord(t *testing.T) {
	for _, answer := range []reply.Reply{
		reply.New(451, 4, 1, "cannot reach the tenant"),
		reply.New(550, 7, 64, "TenantAttribution\nno connector matches"),
		reply.New(250, 0, 0, "accepted by the tenant"),
	} {
		_, address := start(t, &desk{answer: answer}, nil)
		if got := send(t, dial(t, address), "a@contoso.com"); got != answer.String() {
			t.Errorf("got %q, want %q", got, answer)
		}
	}
}

func TestAnAnswersLinesFitWhatAClientCanTake(t *testing.T) {
	_, address := start(t, &desk{answer: reply.New(550, 1, 1, "%s\n%s", strings.Repeat("é", 1000), "short")}, nil)
	got := send(t, dial(t, address), "a@contoso.com")
	if len(got) > 600 || !strings.HasSuffix(got, "é ... short") {
		t.Errorf("heard %d octets: %q", len(got), got)
	}
}

func TestAClientOutsideTheNetworksIsRefusedAtOnce(t *testing.T) {
	_, address := start(t, &desk{}, nil)
	_, port, _ := net.SplitHostPort(address)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	all, _ := io.ReadAll(conn)
	want := "554 5.7.1 relay.contoso.com does not relay for 127.0.0.2: add its network to lan.allow\r\n"
	if string(all) != want {
		t.Errorf("heard %q", all)
	}
}

func TestOneClientCannotTakeEveryConnection(t *testing.T) {
	_, address := start(t, &desk{}, nil)
	var first net.Conn
	for i := range testLimits.PerClient {
		conn := dial(t, address)
		if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "220") {
			t.Fatalf("connection %d heard %q", i, line)
		}
		first = conn
	}
	extra := dial(t, address)
	if all, _ := io.ReadAll(extra); !strings.HasPrefix(string(all), "421 4.7.0 too many connections from 127.0.0.1") {
		t.Errorf("one too many heard %q", all)
	}
	_, _ = io.WriteString(first, "QUIT\r\n")
	_, _ = io.ReadAll(first)
	if line, _ := bufio.NewReader(dial(t, address)).ReadString('\n'); !strings.HasPrefix(line, "220") {
		t.Errorf("after one left, the next heard %q", line)
	}
}

func TestASilentOrEndlessSessionIsEnded(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"silent":  func(l *Limits) { l.Idle = 50 * time.Millisecond },
		"endless": func(l *Limits) { l.Session = 50 * time.Millisecond },
	} {
		_, address := start(t, &desk{}, func(c *Config) { change(&c.Limits) })
		all, err := io.ReadAll(dial(t, address))
		if err != nil || !strings.Contains(string(all), "\n421 4.4.2 ") {
			t.Errorf("%s: heard %q, %v", name, all, err)
		}
	}
}

func TestADeviceSetToSSLWorksFromItsSecondAttemptOnBesideOthers(t *testing.T) {
	_, address := start(t, &desk{}, nil)
	overTLS := func() error {
		conn := tls.Client(dial(t, address), &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			return err
		}
		if got := send(t, conn, "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
			t.Errorf("heard %q", got)
		}
		return conn.Close()
	}
	if err := overTLS(); err == nil {
		t.Error("the first attempt met TLS on a plain port")
	}
	// The box reads the hello a moment after the device gave up.
	for deadline := time.Now().Add(10 * time.Second); overTLS() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the device was not remembered")
		}
	}
	for range 2 {
		if err := overTLS(); err != nil {
			t.Errorf("a later attempt: %v", err)
		}
		if got := send(t, dial(t, address), "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
			t.Errorf("a plain client of the same address heard %q", got)
		}
	}
}

func TestTheTLSPortSpeaksTLSFromTheFirstByte(t *testing.T) {
	d := &desk{}
	s, _ := start(t, d, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTLS(l) }()
	conn := tls.Client(dial(t, l.Addr().String()), &tls.Config{InsecureSkipVerify: true})
	if got := send(t, conn, "a@contoso.com"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("heard %q", got)
	}
	if envelopes, _ := d.messages(); len(envelopes) != 1 || envelopes[0].Protocol != "ESMTPS" {
		t.Errorf("got %+v", envelopes)
	}
}

func TestAMessageThatFindsNoRoomOnItsWayIsPutOff(t *testing.T) {
	d := &desk{size: 100}
	_, address := start(t, d, nil)
	if got := send(t, dial(t, address), "a@contoso.com"); !strings.HasPrefix(got, "452 4.3.1 ") {
		t.Errorf("heard %q", got)
	}
}

func TestAMessageForWhichThereIsNoRoomIsPutOffBeforeItIsSent(t *testing.T) {
	_, address := start(t, &desk{full: true}, nil)
	conn := dial(t, address)
	_, _ = io.WriteString(conn, "EHLO x\r\nMAIL FROM:<a@contoso.com> SIZE=1000\r\nQUIT\r\n")
	if all, _ := io.ReadAll(conn); !strings.Contains(string(all), "\n452 4.3.1 no room") {
		t.Errorf("heard %q", all)
	}
}

func TestAStopLetsTheMessageUnderWayFinish(t *testing.T) {
	d := &desk{hold: make(chan struct{})}
	s, address := start(t, d, nil)
	idle := dial(t, address)
	heard := make(chan string)
	busy := dial(t, address)
	go func() { heard <- send(t, busy, "a@contoso.com") }()
	for envelopes, _ := d.messages(); len(envelopes) == 0; envelopes, _ = d.messages() {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("the idle session: %v", err)
	}
	close(d.hold)
	if got := <-heard; !strings.HasPrefix(got, "250 ") {
		t.Errorf("heard %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestATraceFieldCannotBeForged(t *testing.T) {
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
