package lan

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sealpost/relay/reply"
)

const mailCommands = "EHLO x\r\nMAIL FROM:<a@contoso.com>\r\nRCPT TO:<b@fabrikam.example>\r\n"

func TestSession_RejectsATruncatedMessage(t *testing.T) {
	for _, part := range []string{"DATA\r\nhalf a mess", "BDAT 5000\r\nhalf a chunk", "BDAT 5000 LAST\r\nhalf a chunk", "BDAT 4\r\nhalfBDAT 9 LAST\r\n a chu"} {
		d := &fakeAcceptor{}
		s, address := start(t, d, nil)
		for _, secure := range []bool{false, true} {
			conn := dial(t, address)
			if secure {
				conn = startTLS(t, conn)
			}
			_, _ = io.WriteString(conn, mailCommands+part)
			_ = conn.Close()
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if envelopes, contents := d.messages(); len(envelopes) != 0 {
			t.Errorf("%q: got message %q, want none", part, contents)
		}
	}
}

// startTLS switches to TLS; closing the connection sends no close_notify.
func startTLS(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	r := bufio.NewReader(conn)
	for _, line := range []string{"", "EHLO x\r\n", "STARTTLS\r\n"} {
		_, _ = io.WriteString(conn, line)
		if _, err := reply.Read(r, func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
}

func TestTraceField_IsNotContinuedByContent(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, nil)
	conn := dial(t, address)
	_, _ = io.WriteString(conn, mailCommands+"DATA\r\n\tby forged.example\r\n.\r\nQUIT\r\n")
	_, _ = io.ReadAll(conn)
	if _, contents := d.messages(); len(contents) != 1 || !strings.HasSuffix(contents[0], "\r\n\r\n\tby forged.example\r\n") {
		t.Errorf("got %q", contents)
	}
}

func TestClose_LetsASendingClientReadTheReply(t *testing.T) {
	_, address := start(t, &fakeAcceptor{}, nil)
	conn := dial(t, address)
	_, _ = io.WriteString(conn, "EHLO x\r\n"+strings.Repeat("A", 8<<20))
	all, _ := io.ReadAll(conn)
	if !strings.Contains(string(all), "\n500 5.5.2 ") {
		t.Errorf("got %q", all)
	}
}

// TestSession_EndsDuringChunks has clients that close or quit just when content would
// begin.
func TestSession_EndsDuringChunks(t *testing.T) {
	for _, end := range []string{"BDAT 0\r\n", "BDAT 0\r\nQUIT\r\n", "BDAT 5\r\n", "BDAT 5 LAST\r\n", "BDAT 5\r\na"} {
		for range 50 {
			d, _ := serveOctets(t, strings.NewReader(mailCommands+end))
			if envelopes, _ := d.messages(); len(envelopes) > 0 {
				t.Errorf("%q: got a message, want none", end)
			}
		}
	}
}

func TestSession_TakesEmptyChunks(t *testing.T) {
	d, conn := serveOctets(t, strings.NewReader(mailCommands+"BDAT 0\r\nBDAT 3\r\na:bBDAT 0\r\nBDAT 0 LAST\r\n"))
	if _, contents := d.messages(); len(contents) != 1 || !strings.Contains(contents[0], "\r\na:b\r\n") {
		t.Errorf("got %q after %q", contents, conn.sent.String())
	}
}

// TestMAIL_IsRefusedInATransaction has a client whose second message must not be sent to
// nobody.
func TestMAIL_IsRefusedInATransaction(t *testing.T) {
	d, conn := serveOctets(t, strings.NewReader(mailCommands+"MAIL FROM:<c@contoso.com>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<d@contoso.com>\r\n"))
	envelopes, _ := d.messages()
	if len(envelopes) != 1 || envelopes[0].Sender != "a@contoso.com" || len(envelopes[0].Recipients) != 1 {
		t.Errorf("got %+v", envelopes)
	}
	if all := conn.sent.String(); !strings.Contains(all, "503 5.5.1 a message has begun already") || !strings.Contains(all, "sender <d@contoso.com> accepted") {
		t.Errorf("got replies %q", all)
	}
}

func TestSession_AbandonsUnfinishedMessages(t *testing.T) {
	d := &fakeAcceptor{}
	s, address := start(t, d, nil)
	for _, last := range []string{"DATA\r\nhalf a mess", "BDAT 5000\r\nhalf a chunk", "BDAT 0\r\nRSET\r\n"} {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, mailCommands+last)
		r := bufio.NewReader(conn)
		for range 11 {
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); d.unfinished() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d open messages, want 0", d.unfinished())
		}
	}
}
