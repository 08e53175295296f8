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

// holdConnection logs another client in to the mailbox and keeps its connection open
// until the test ends.
func holdConnection(t *testing.T, host *tenant.Tenant) {
	t.Helper()
	client, err := smtp.Dial(host.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	mustSucceed(t, func() error {
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

// sendFromDevices sends messages from concurrent devices. The relay must reply 250 to
// all of them.
func sendFromDevices(t *testing.T, relay string, devices, each int) {
	t.Helper()
	var wg sync.WaitGroup
	for device := range devices {
		wg.Go(func() {
			client, err := load.Dial(relay, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer client.Close()
			for n := range each {
				if err := client.Send(load.NewMessage(fmt.Sprintf("%d-%d", device, n), 1000)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestMailboxLimits_AreEachExceededOnlyOnceByABurst sends a burst that reaches the
// limit per minute within seconds. The settings name no limit, and another client
// uses one of the three connections of the mailbox.
func TestMailboxLimits_AreEachExceededOnlyOnceByABurst(t *testing.T) {
	t.Parallel()
	const (
		devices, each = 20, 25
		messages      = devices * each
		connections   = 3
		perMinute     = 400
	)
	s := mailboxSite(t, siteConfig{upstream: "hold = \"300ms\"\nmessages_per_minute = 0", spool: "64MiB"})
	issuer := startIssuer(t, parts.IssuerClient{Certificate: s.certificate()})
	host := startMailbox(t, acceptAnyToken, tenant.Submission{Connections: connections, PerMinute: perMinute})
	holdConnection(t, host)
	tpm := startTPMProxy(t, s.tpm)
	s.config.tpm = tpm.address()
	s.configureSubmission(host.Address().Port, issuer.TokenURL(), "")
	s.start()
	sendFromDevices(t, s.address(), devices, each)
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
		t.Errorf("got %d messages, %d of them distinct, want %d", len(host.Messages()), len(arrived), messages)
	}
	if n := len(s.relay.Log.Events("refused")) + len(s.relay.Log.Events("bounce")); n > 0 {
		t.Errorf("got %d permanent rejections, want 0", n)
	}
	replies := strings.Join(host.LimitReplies(), "\n")
	for _, limit := range []string{"432 4.3.2", "451 4.7.500"} {
		// Every connection that is in use when the limit is first exceeded can exceed it.
		if n := strings.Count(replies, limit); n < 1 || n > connections {
			t.Errorf("got reply %s %d times, want 1 to %d:\n%s", limit, n, connections, replies)
		}
	}
	if n := len(tokenRequests(issuer, clientCredentials)); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
	if n := tpm.signatures(); n < 1 || n > 3 {
		t.Errorf("got %d signatures of the TPM, want 1 to 3", n)
	}
}
