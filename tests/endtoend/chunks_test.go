package endtoend

import (
	"io"
	"strings"
	"testing"
	"time"

	"sealpost/tests/tenant"
)

func TestATransferGivenUpIsNeverTakenForTheNextMessagesAnswer(t *testing.T) {
	upstream := startTenant(t, tenant.Config{})
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	message := "MAIL FROM:<" + sender + ">\r\nRCPT TO:<" + recipient + ">\r\n"
	for range 100 {
		before := len(upstream.Messages())
		conn := s.dial("127.0.0.1")
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = io.WriteString(conn, "EHLO x\r\n"+message+"BDAT 0\r\nRSET\r\n"+
			strings.Repeat(message+"BDAT 3 LAST\r\nx\r\n", 2)+"QUIT\r\n")
		all, _ := io.ReadAll(conn)
		if heard := strings.Count(string(all), "taken by"); heard > len(upstream.Messages())-before {
			t.Fatalf("the client heard of %d messages taken, the tenant has %d:\n%s", heard, len(upstream.Messages())-before, all)
		}
		_ = conn.Close()
	}
}
