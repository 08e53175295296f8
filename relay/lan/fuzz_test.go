package lan

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// recorded is a network connection on which the client has sent all its octets already,
// and reads at once.
type recorded struct {
	io.Reader
	mu     sync.Mutex
	sent   bytes.Buffer // by the server
	closed chan struct{}
	once   sync.Once
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(p)
}

func (r *recorded) Close() error                   { r.once.Do(func() { close(r.closed) }); return nil }
func (*recorded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recorded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recorded) SetDeadline(time.Time) error      { return nil }
func (*recorded) SetReadDeadline(time.Time) error  { return nil }
func (*recorded) SetWriteDeadline(time.Time) error { return nil }

// oneConn is a listener with one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error { l.once.Do(func() { close(l.closed) }); return nil }
func (*oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// panics fails a test at what go-smtp logs of a panic that it has recovered from.
type panics struct{ t *testing.T }

func (p panics) Printf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); strings.Contains(text, "panic") {
		p.t.Error(text)
	}
}
func (p panics) Println(v ...any) { p.Printf("%s", fmt.Sprintln(v...)) }

// serveOctets serves a client that sends these octets and closes.
func serveOctets(t *testing.T, from io.Reader) (d *fakeAcceptor, conn *recorded) {
	t.Helper()
	d = &fakeAcceptor{}
	d.reply.Code, d.reply.Status.Class, d.reply.Text = 250, 2, "taken"
	p := testPolicy()
	s := New(Config{Hostname: "relay.contoso.com", Limits: testLimits, TLS: TLS(certificatesOfTest), Users: &fakeUsers{cram: true}}, p, d, journal.Discard())
	s.smtp.ErrorLog = panics{t}
	conn = &recorded{Reader: from, closed: make(chan struct{})}
	client := policy.Client{Address: netip.MustParseAddr("127.0.0.1")}
	admitted, _, _ := s.sessions.admit(conn, client, p.Access(client))
	admitted.server = s
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- admitted
	served := make(chan struct{})
	go func() { defer close(served); _ = s.smtp.Serve(l) }()
	select {
	case <-conn.closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the session did not end within 20s")
	}
	_ = l.Close()
	<-served
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	return d, conn
}

var (
	mailLine  = regexp.MustCompile(`(?im)^mail[ \t]`)
	dotLine   = regexp.MustCompile(`(?m)^\.\r$`)
	anyMail   = regexp.MustCompile(`(?i)mail[ \t]`)
	anyEnd    = regexp.MustCompile(`(?im)^\.\r$|bdat[ \t].*last`)
	chunk     = regexp.MustCompile(`(?i)bdat`)
	replyLine = regexp.MustCompile(`^[2-5][0-9][0-9][ -][ -~\x{80}-\x{10ffff}]*\r\n$`)
)

// mostMessages is how many messages these octets can hold. Behind a chunk, a command begins
// anywhere.
func mostMessages(wire []byte) int {
	begin, end := mailLine, dotLine
	if chunk.Match(wire) {
		begin, end = anyMail, anyEnd
	}
	return min(len(begin.FindAll(wire, -1)), len(end.FindAll(wire, -1)))
}

// FuzzCommand sends any octets. No more messages come in than MAIL and ends of content
// were sent, with addresses that are whole, and every reply is one of SMTP, whatever of the
// command it quotes.
func FuzzCommand(f *testing.F) {
	const envelope = "EHLO x\r\nMAIL FROM:<a@contoso.com>\r\nRCPT TO:<b@contoso.com>\r\n"
	f.Add([]byte(envelope + "DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"))
	f.Add([]byte(envelope + "BDAT 3\r\na:bBDAT 0 LAST\r\nMAIL FROM:<>\r\n"))
	f.Add([]byte("MAIL FROM:<a@b>\rRCPT TO:<c@d>\r\nmail from: a\nrcpt to:<\"b c\"@d>\nDATA\n.\n.\r\n"))
	f.Add([]byte("AUTH PLAIN\r\nAHByaW50ZXIAeA==\r\nAUTH LOGIN\r\n*\r\nAUTH CRAM-MD5\r\nMAIL FROM:<a@b>\r\n"))
	f.Add([]byte("EHLO x\r\nSTARTTLS\r\n" + envelope + "DATA\r\n.\r\n"))
	f.Add([]byte("EHLO x\r\nSTARTTLS\r\n\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Add([]byte("\x80\x2e\x01\x00\x02\r\n"))
	f.Add([]byte("FOO\x00BAR\rBAZ\xff\r\nEHLO \x7f\r\nRSET\r\nVRFY a\r\nBDAT x\r\n"))
	f.Add([]byte(envelope + "RCPT TO:<@a,@b:c@d> NOTIFY=NEVER,DELAY ORCPT=x;+0D+0A\r\nRSET\r\nDATA\r\n"))
	f.Add([]byte("EHLO x\r\n" + strings.Repeat("MAIL\x00FROM\r\n", 5) + "MAIL FROM:<a@contoso.com>\r\n")) // too many errors
	f.Fuzz(func(t *testing.T, wire []byte) {
		d, conn := serveOctets(t, bytes.NewReader(wire))
		// go-smtp does not wait for the content of chunks.
		for deadline := time.Now().Add(5 * time.Second); d.unfinished() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("got %d messages left open", d.unfinished())
			}
		}
		envelopes, _ := d.messages()
		if most := mostMessages(wire); len(envelopes) > most {
			t.Errorf("got %d messages, want at most %d", len(envelopes), most)
		}
		for _, e := range envelopes {
			if len(e.Recipients) == 0 {
				t.Errorf("got a message of %q to nobody", e.Sender)
			}
			for _, path := range append(e.Recipients, e.Sender) {
				if got := path.Path(); strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("got the path %q", got)
				}
			}
		}
		for line := range strings.Lines(conn.sent.String()) {
			const longest = 512 // RFC 5321 section 4.5.3.1.5
			if !conn.isSecured(line) && (!replyLine.MatchString(line) || len(line) > longest) {
				t.Errorf("got the reply line %.2000q of %d octets", line, len(line))
			}
		}
	})
}

// isSecured reports whether a line is part of an answer to a TLS handshake.
func (r *recorded) isSecured(line string) bool {
	_, after, found := strings.Cut(r.sent.String(), " ready to start TLS\r\n")
	return found && strings.Contains(after, line)
}

// endless is a client that never ends its line.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// TestCommand_UsesBoundedMemory has a client that never ends a command or a response of
// AUTH.
func TestCommand_UsesBoundedMemory(t *testing.T) {
	for _, begin := range []string{"", "EHLO ", "EHLO x\r\nMAIL FROM:<", "EHLO x\r\nAUTH PLAIN ", "EHLO x\r\nAUTH LOGIN\r\n", "EHLO x\r\nBDAT "} {
		const octets, most = 64 << 20, 4 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, conn := serveOctets(t, io.MultiReader(strings.NewReader(begin), io.LimitReader(endless{}, octets)))
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > most || !strings.Contains(conn.sent.String(), "\n50") {
			t.Errorf("%q: got %d octets allocated, want at most %d; got replies %q", begin, allocated, most, conn.sent.String())
		}
	}
}
