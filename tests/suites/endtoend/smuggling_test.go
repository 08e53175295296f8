package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// endsOfData are what some servers take for the end of DATA, which is CRLF.CRLF only
// (RFC 5321 section 4.1.1.4).
var endsOfData = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n",
	"\r\r\n.\r\r\n", "\r\n.\r\r\n", "\n\r.\n\r", "\n\n.\n\n",
	"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\x00\r\n.\x00\r\n", "\r\n.\r\x00\n", "\r\x00\n.\r\n.",
	"\r\n .\r\n", "\r\n. \r\n", "\r\n\t.\r\n", "\r\n.\t\r\n", "\r\n.\v\n", "\r\n..\r\n", "\u0085.\u0085", "\u2028.\u2028",
}

// smuggled is a second message that a server sees which ends the first one too early.
const smuggled = "MAIL FROM:<" + sender + ">\r\nRCPT TO:<victim@fabrikam.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"

// withoutStuffing is what DATA of a client that does no dot-stuffing means: the dot at
// the beginning of a line is removed.
func withoutStuffing(data string) string {
	return strings.ReplaceAll("\r\n"+data, "\r\n.", "\r\n")[len("\r\n"):]
}

// TestSmuggling_DeliversOneMessage sends a message that contains another, behind each
// variant of the end of data, at once and split over packets.
func TestSmuggling_DeliversOneMessage(t *testing.T) {
	for _, upstreamCommand := range []string{"DATA", "BDAT"} {
		t.Run("upstream "+upstreamCommand, func(t *testing.T) {
			t.Parallel()
			upstream := startTenant(t, tenantThatTakes(t, upstreamCommand))
			s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, smtps: "127.0.0.2:0",
				limits: "connections_per_client = 50\ntransactions = 1000"}, clientCertificate(t, authority()))
			sent := 0
			for mode, address := range s.addressesByMode() {
				c := dialContentClient(t, address, mode)
				for _, end := range endsOfData {
					content := "Subject: first\r\n\r\nfirst" + end + smuggled
					for _, send := range []func() string{
						func() string { // by DATA
							c.command(t, 354, "DATA")
							c.write(t, content+".\r\n")
							return withoutStuffing(content)
						},
						func() string { // by DATA, in packets that end within the variant
							c.command(t, 354, "DATA")
							from := len("Subject: first\r\n\r\nfirst")
							for _, octet := range []byte(end) {
								c.write(t, content[:from]+string([]byte{octet}))
								content, from = content[from+1:], 0
								time.Sleep(time.Millisecond)
							}
							c.write(t, content+".\r\n")
							return withoutStuffing("Subject: first\r\n\r\nfirst" + end + smuggled)
						},
						func() string { // by BDAT, in two chunks
							half := len(content) / 2
							c.write(t, fmt.Sprintf("BDAT %d\r\n%s", half, content[:half]))
							c.expect(t, 250)
							c.write(t, fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-half, content[half:]))
							return content
						},
					} {
						content = "Subject: first\r\n\r\nfirst" + end + smuggled
						c.command(t, 250, "MAIL FROM:<"+sender+">")
						c.command(t, 250, "RCPT TO:<"+recipient+">")
						want := send()
						c.expect(t, 250)
						sent++
						messages := upstream.Messages()
						if len(messages) != sent {
							t.Fatalf("%s, %q: got %d messages, want %d", mode, end, len(messages), sent)
						}
						last := messages[sent-1]
						if err := checkDelivered(want, string(last.Content)); err != nil || !slices.Equal(last.Recipients, []string{recipient}) {
							t.Fatalf("%s, %q, for %v: %v", mode, end, last.Recipients, err)
						}
					}
				}
				c.command(t, 221, "QUIT")
			}
		})
	}
}
