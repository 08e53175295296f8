package endtoend

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// occupy has another client of the mailbox hold one of its connections until the
// test ends.
func occupy(t *testing.T, host *tenant.Tenant) {
	t.Helper()
	client, err := smtp.Dial(host.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	try(t, func() error {
		return client.StartTLS(&tls.Config{ServerName: "localhost", RootCAs: authority().Pool()})
	})
	login := base64.StdEncoding.EncodeToString([]byte("user=" + sender + "\x01auth=Bearer of.another.client\x01\x01"))
	for _, c := range []struct {
		line string
		code int
	}{{"AUTH XOAUTH2 " + login, 235}, {"MAIL FROM:<" + sender + ">", 250}} {
		if err := client.Text.PrintfLine("%s", c.line); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.Text.ReadResponse(c.code); err != nil {
			t.Fatal(err)
		}
	}
}

// scan has devices send so many messages each, all of which must be answered
// 250.
func scan(t *testing.T, relay string, devices, each int) {
	t.Helper()
	var busy sync.WaitGroup
	for device := range devices {
		busy.Go(func() {
			talker, err := load.Dial(relay, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer talker.Close()
			for n := range each {
				if err := talker.Send(load.NewMessage(fmt.Sprintf("%d-%d", device, n), 1000)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	busy.Wait()
}

// TestMailboxLimits_AreEachMetOnceByABurst has a minute's limit that a burst
// reaches in seconds. The box was told of none, and another client holds one of
// the three connections that it takes for its own.
func TestMailboxLimits_AreEachMetOnceByABurst(t *testing.T) {
	t.Parallel()
	const (
		devices, each = 20, 25
		messages      = devices * each
		connections   = 3
		perMinute     = 400
	)
	s := mailboxSite(t, told{upstream: "hold = \"300ms\"\nmessages_per_minute = 0", spool: "64MiB"})
	issuer := startIssuer(t, parts.IssuerClient{Certificate: s.certificate()})
	host := startMailbox(t, anyToken, tenant.Submission{Connections: connections, PerMinute: perMinute})
	occupy(t, host)
	watched := startTap(t, s.tpm)
	s.told.tpm = watched.address()
	s.submit(host.Address().Port, issuer.TokenURL(), "")
	s.start()
	scan(t, s.address(), devices, each)
	const timeout = 100 * time.Second
	for end := time.Now().Add(timeout); len(host.Messages()) < messages && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	arrived := map[string]bool{}
	for _, message := range host.Messages() {
		name, _ := load.ParseMessage(message.Content)
		arrived[name] = true
	}
	if len(host.Messages()) != messages || len(arrived) != messages {
		t.Errorf("%d messages arrived, %d of them different", len(host.Messages()), len(arrived))
	}
	if n := len(s.relay.Log.Events("refused")) + len(s.relay.Log.Events("bounce")); n > 0 {
		t.Errorf("%d were refused permanently", n)
	}
	denials := strings.Join(host.LimitReplies(), "\n")
	for _, limit := range []string{"432 4.3.2", "451 4.7.500"} {
		// Those under way when it is met for the first time meet it too.
		if n := strings.Count(denials, limit); n < 1 || n > connections {
			t.Errorf("%s was met %d times:\n%s", limit, n, denials)
		}
	}
	if n := len(tokenRequests(issuer, clientCredentials)); n != 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	if n := watched.signatures(); n < 1 || n > 3 {
		t.Errorf("the TPM was asked for %d signatures", n)
	}
}
