package esmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// afterDot marks a reply to the end of the content, not to the next line.
const afterDot = "after the dot: "

// server is a fake server: it replies to each line with the next of its replies,
// and records the lines.
type server struct {
	conn     net.Conn
	replies  []string
	received []string
	playing  sync.WaitGroup
}

// connect returns a client after the replies to the connection and EHLO, and the
// server that continues with the replies.
func connect(t *testing.T, extensions string, replies ...string) (*Client, *server) {
	t.Helper()
	client, serverEnd := net.Pipe()
	s := &server{conn: serverEnd, replies: append([]string{"250-mx\r\n250-" + strings.ReplaceAll(extensions, " ", "\r\n250-") + "\r\n250 HELP"}, replies...)}
	s.playing.Go(s.play)
	c, err := Dialogue(context.Background(), client, discardingObserver{}, 2*time.Second)
	if err == nil {
		err = c.Hello(context.Background(), "relay.contoso.com")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.playing.Wait()
	})
	return c, s
}

func (s *server) play() {
	defer s.conn.Close()
	if _, err := io.WriteString(s.conn, "220 mx ESMTP\r\n"); err != nil {
		return
	}
	lines := bufio.NewScanner(s.conn)
	for _, r := range s.replies {
		r, later := strings.CutPrefix(r, afterDot)
		for more := true; more; more = later && s.received[len(s.received)-1] != "." {
			if !lines.Scan() {
				return
			}
			s.received = append(s.received, lines.Text())
		}
		if _, err := io.WriteString(s.conn, r+"\r\n"); err != nil {
			return
		}
	}
	for lines.Scan() {
		s.received = append(s.received, lines.Text())
	}
}

// lines returns the lines that the server received after EHLO; close the client
// first.
func (s *server) lines(c *Client) []string {
	c.Close()
	s.playing.Wait()
	return s.received[1:]
}

type discardingObserver struct{}

func (discardingObserver) Sent(string)     {}
func (discardingObserver) Received(string) {}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

var testEnvelope = envelope.Envelope{Sender: "a@contoso.com", Recipients: []envelope.Address{"b@x.example", "c d@x.example"}, Size: 12, EightBit: true}

func TestClient_UsesTheServersExtensions(t *testing.T) {
	for extensions, mail := range map[string]string{
		"SIZE 8BITMIME": "MAIL FROM:<a@contoso.com> SIZE=12 BODY=8BITMIME",
		"SIZE":          "MAIL FROM:<a@contoso.com> SIZE=12",
		"NONE":          "MAIL FROM:<a@contoso.com>",
	} {
		c, s := connect(t, extensions, "250 ok", "250 ok", "250 ok")
		if _, _, err := c.Offer(context.Background(), testEnvelope); err != nil {
			t.Fatal(err)
		}
		if want := []string{mail, "RCPT TO:<b@x.example>", `RCPT TO:<"c d"@x.example>`}; !slices.Equal(s.lines(c), want) {
			t.Errorf("%s: got %q at the server, want %q", extensions, s.received, want)
		}
	}
}

func TestOffer_PassesDSNParametersOn(t *testing.T) {
	withDSN := envelope.Envelope{Sender: "a@contoso.com", Recipients: []envelope.Address{"b@x.example", "c@x.example", "d@x.example"}, DSN: envelope.DSN{
		Return: envelope.ReturnHeader, ID: "a+20b", Recipients: []envelope.RecipientDSN{
			{Notify: envelope.NotifySuccess | envelope.NotifyDelay, Original: "rfc822;b@y.example"}, {Notify: envelope.NotifyNever, Original: "x400;c"}}}}
	plain := []string{"MAIL FROM:<a@contoso.com>", "RCPT TO:<b@x.example>", "RCPT TO:<c@x.example>", "RCPT TO:<d@x.example>"}
	withoutDSN := withDSN
	withoutDSN.DSN = envelope.DSN{}
	for name, c := range map[string]struct {
		extensions string
		e          envelope.Envelope
		want       []string
	}{
		"offered": {"PIPELINING DSN", withDSN, []string{"MAIL FROM:<a@contoso.com> RET=HDRS ENVID=a+20b",
			"RCPT TO:<b@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@y.example", "RCPT TO:<c@x.example> NOTIFY=NEVER", "RCPT TO:<d@x.example>"}},
		"not offered": {"PIPELINING", withDSN, plain},
		"not given":   {"DSN", withoutDSN, plain},
	} {
		client, s := connect(t, c.extensions, "250 ok", "250 ok", "250 ok", "250 ok")
		if _, _, err := client.Offer(t.Context(), c.e); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.lines(client), c.want) {
			t.Errorf("%s: got %q at the server, want %q", name, s.received, c.want)
		}
	}
}

func TestOffer_SendsNoRcptAfterARejectedMail(t *testing.T) {
	c, s := connect(t, "NONE", "550 5.7.1 no")
	mail, recipients, err := c.Offer(context.Background(), testEnvelope)
	if err != nil || mail.Code != 550 || len(recipients) != 2 || recipients[1] != mail {
		t.Errorf("got %v, %v, %v", mail, recipients, err)
	}
	if received := s.lines(c); len(received) != 1 {
		t.Errorf("got %q at the server, want one line", received)
	}
}

func TestOffer_PipelinesThousandsOfRecipients(t *testing.T) {
	var e envelope.Envelope
	for i := range 2000 {
		e.Recipients = append(e.Recipients, envelope.Address(fmt.Sprintf("r%d@x.example", i)))
	}
	replies := slices.Repeat([]string{"250 2.1.0 OK"}, 1+len(e.Recipients))
	replies[len(replies)-1] = "550 5.1.1 User unknown"
	c, _ := connect(t, "PIPELINING", replies...)
	mail, recipientReplies, err := c.Offer(t.Context(), e)
	if err != nil || !mail.Positive() || len(recipientReplies) != len(e.Recipients) {
		t.Fatalf("got %s and %d replies, %v", mail, len(recipientReplies), err)
	}
	if first, last := recipientReplies[0], recipientReplies[len(recipientReplies)-1]; first.Code != 250 || last.Code != 550 {
		t.Errorf("got first reply %s and last reply %s, want 250 and 550", first, last)
	}
}

func TestContent_IsDotStuffedWithDATA(t *testing.T) {
	c, s := connect(t, "NONE", "354 go on", afterDot+"250 2.0.0 taken")
	got, err := c.Content(context.Background(), content("a\r\n.b\r\n..\r\n\r\n"))
	if err != nil || got != (reply.Reply{Code: 250, Status: reply.Status{Class: 2}, Text: "taken"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if want := []string{"DATA", "a", "..b", "...", "", "."}; !slices.Equal(s.lines(c), want) {
		t.Errorf("got %q at the server, want %q", s.received, want)
	}
}

func TestContent_RejectsAReplyThatIsNotFinal(t *testing.T) {
	for name, replies := range map[string][]string{
		"a final reply to DATA": {"250 2.0.0 taken"},
		"354 after the content": {"354 go on", afterDot + "354 go on"},
		"421 after the content": {"354 go on", afterDot + "421 4.3.2 closing"},
	} {
		c, _ := connect(t, "NONE", replies...)
		unexpected := (*UnexpectedReply)(nil)
		if got, err := c.Content(context.Background(), content("")); !errors.As(err, &unexpected) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestContent_ReturnsARejectionOfDATA(t *testing.T) {
	c, _ := connect(t, "NONE", "554 5.5.1 no valid recipients")
	got, err := c.Content(context.Background(), content("x\r\n"))
	if err != nil || got.Code != 554 || !c.Usable() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestContent_ReadsAnEarlyRejection(t *testing.T) {
	client, server := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() {
		r := bufio.NewReader(server)
		_, _ = io.WriteString(server, "220 mx\r\n")
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(server, "250-mx\r\n250 CHUNKING\r\n")
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(server, "552 5.3.4 too large for us\r\n")
	})
	// The server stops reading, so sending times out.
	c, err := Dialogue(context.Background(), client, discardingObserver{}, 100*time.Millisecond)
	if err == nil {
		err = c.Hello(context.Background(), "relay")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Content(context.Background(), content(strings.Repeat("x", 1<<20)))
	if err != nil || got.Code != 552 || c.Usable() {
		t.Errorf("got %v, %v, usable: %v", got, err, c.Usable())
	}
	c.Close()
	_ = server.Close()
	serving.Wait()
}

func TestClient_StopsWaitingWhenCancelled(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	begun := time.Now()
	if _, err := Dialogue(ctx, client, discardingObserver{}, time.Minute); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(begun))
	}
}

// lateDeadlineConn is a connection on which a deadline takes effect late.
type lateDeadlineConn struct {
	net.Conn
	release chan struct{}
	last    time.Time // the deadline that was set last
}

func (s *lateDeadlineConn) SetDeadline(at time.Time) error {
	if at.Before(time.Now()) {
		<-s.release
	}
	s.last = at
	return nil
}

func TestClient_IsNotAffectedByAnEarlierContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &lateDeadlineConn{release: make(chan struct{})}
		c := &Client{conn: conn}
		ctx, cancel := context.WithCancel(t.Context())
		release, err := c.setDeadline(ctx, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { close(conn.release) })
		release()
		if _, err := c.setDeadline(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if conn.last.Before(time.Now()) {
			t.Errorf("got deadline %v, want a later one than now", conn.last)
		}
	})
}
