package endtoend

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestAbandonedTransfer_ReplyIsNotSentForTheNextMessage aborts a BDAT transfer by RSET.
// Its result must not become the reply to a later message: the session ends.
func TestAbandonedTransfer_ReplyIsNotSentForTheNextMessage(t *testing.T) {
	t.Parallel()
	config := tenantConfig(t)
	config.Script = func(verb, argument string) string {
		if verb == "RCPT" && strings.Contains(argument, "unknown") {
			return "550 5.1.1 User unknown"
		}
		return ""
	}
	upstream := startTenant(t, config)
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	const mail, chunk = "MAIL FROM:<" + sender + ">\r\n", "BDAT 3 LAST\r\nx\r\n"
	const known, unknown = mail + "RCPT TO:<" + recipient + ">\r\n", mail + "RCPT TO:<unknown@fabrikam.example>\r\n"
	for range 100 {
		conn := s.dial("127.0.0.1")
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = io.WriteString(conn, "EHLO x\r\n"+known+"BDAT 1\r\nxRSET\r\n"+known+chunk+unknown+chunk+"QUIT\r\n")
		all, _ := io.ReadAll(conn)
		_ = conn.Close()
		_, last, aborted := strings.Cut(string(all), "transaction reset\r\n")
		if !aborted || !strings.HasPrefix(last, "421 4.3.0 the previous transfer was aborted") || strings.Contains(last, "accepted by") {
			t.Fatalf("got %q, want 421 after RSET", all)
		}
	}
	if n := len(upstream.Messages()); n > 0 {
		t.Errorf("got %d messages of aborted sessions", n)
	}
	s.mustDeliver()
}
