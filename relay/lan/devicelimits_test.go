package lan

import (
	"bufio"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// The addresses of a device with limits of its own, and of one without.
const limited, unlimited = "127.0.4.1", "127.0.5.1"

func limitedPolicy() *policy.Policy {
	p := testPolicy()
	p.Devices = []policy.Device{{Clients: netip.MustParsePrefix(limited + "/32"), Limits: policy.Limits{
		Connections: 2, MessagesPerMinute: 2, MessageSize: 1000, Recipients: 2, SpoolShare: 7,
	}}}
	return p
}

// limitedClient returns a client that has sent EHLO.
func limitedClient(t *testing.T, from, address string) *client {
	t.Helper()
	c := &client{t: t, conn: dialFrom(t, from, address)}
	c.r = bufio.NewReader(c.conn)
	c.expect(220)
	c.command(250, "EHLO device")
	return c
}

func TestDeviceLimits_HoldForTheDeviceOnly(t *testing.T) {
	const tooLarge = "the message is larger than 1000 octets (limits.message_size)"
	long := strings.Repeat("x", 900) + "\r\n" + strings.Repeat("x", 200) + "\r\n"
	for name, c := range map[string]struct {
		steps []string // a last one that is refused to the device
		code  int
		text  string
	}{
		"size by SIZE":   {[]string{"MAIL FROM:<a@contoso.com> SIZE=1001"}, 552, tooLarge},
		"size by DATA":   {[]string{"MAIL FROM:<a@contoso.com>", "RCPT TO:<b@contoso.com>", "DATA", long + "."}, 552, tooLarge},
		"size by BDAT":   {[]string{"MAIL FROM:<a@contoso.com>", "RCPT TO:<b@contoso.com>", fmt.Sprintf("BDAT %d LAST\r\n%s", len(long)+2, long)}, 552, tooLarge},
		"size by chunks": {[]string{"MAIL FROM:<a@contoso.com>", "RCPT TO:<b@contoso.com>", "BDAT 904\r\n" + long[:902], "BDAT 204 LAST\r\n" + long[902:]}, 552, tooLarge},
		"recipients":     {[]string{"MAIL FROM:<a@contoso.com>", "RCPT TO:<b@contoso.com>", "RCPT TO:<c@contoso.com>", "RCPT TO:<d@contoso.com>"}, 452, "a message of this device may have 2 recipients"},
		"messages":       {[]string{"MAIL FROM:<a@contoso.com>", "RSET", "MAIL FROM:<a@contoso.com>", "RSET", "MAIL FROM:<a@contoso.com>"}, 450, limited + " has sent 2 messages within a minute"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, from := range []string{limited, unlimited} {
				_, address := startWithPolicy(t, &fakeAcceptor{}, nil, limitedPolicy(), journal.Discard())
				client := limitedClient(t, from, address)
				last := len(c.steps) - 1
				for _, step := range c.steps[:last] {
					code := 250
					if step == "DATA" {
						code = 354
					}
					client.command(code, step)
				}
				if from == unlimited {
					client.command(250, c.steps[last])
				} else if got := client.command(c.code, c.steps[last]); !strings.Contains(got.Text, c.text) {
					t.Errorf("got %q, want %q", got.Text, c.text)
				}
				// The session goes on.
				client.command(250, "RSET")
			}
		})
	}
}

func TestDeviceLimits_AreOffered(t *testing.T) {
	_, address := startWithPolicy(t, &fakeAcceptor{}, nil, limitedPolicy(), journal.Discard())
	for from, want := range map[string]string{limited: "SIZE 1000", unlimited: fmt.Sprintf("SIZE %d", testLimits.MessageSize)} {
		client := limitedClient(t, from, address)
		if got := client.command(250, "EHLO device"); !strings.Contains(got.Text, want) {
			t.Errorf("%s: got %q, want %q", from, got.Text, want)
		}
	}
}

func TestDeviceLimits_CountConnections(t *testing.T) {
	_, address := startWithPolicy(t, &fakeAcceptor{}, nil, limitedPolicy(), journal.Discard())
	for range 2 {
		limitedClient(t, limited, address)
	}
	refused := &client{t: t, conn: dialFrom(t, limited, address)}
	refused.r = bufio.NewReader(refused.conn)
	if got := refused.expect(421); !strings.Contains(got.Text, "too many connections from "+limited) {
		t.Errorf("got %q", got.Text)
	}
	limitedClient(t, unlimited, address)
}

func TestDeviceLimits_CountMessagesOfAllConnections(t *testing.T) {
	_, address := startWithPolicy(t, &fakeAcceptor{}, nil, limitedPolicy(), journal.Discard())
	first := limitedClient(t, limited, address)
	first.envelope()
	limitedClient(t, limited, address).envelope()
	first.command(250, "RSET")
	first.command(450, "MAIL FROM:<a@contoso.com>")
}

func TestDeviceLimits_SetTheShareOfTheSpool(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := startWithPolicy(t, d, nil, limitedPolicy(), journal.Discard())
	for _, from := range []string{limited, unlimited} {
		send(t, dialFrom(t, from, address), "a@contoso.com")
	}
	if envelopes, _ := d.messages(); len(envelopes) != 2 || envelopes[0].Share != 7 || envelopes[1].Share != 0 {
		t.Errorf("got %+v, want the shares 7 and 0", envelopes)
	}
}
