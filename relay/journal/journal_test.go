package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEvent_IsOneLine(t *testing.T) {
	for name, format := range map[string]func(*bytes.Buffer) *Journal{
		"text": func(b *bytes.Buffer) *Journal { return New(Text(b, true)) },
		"JSON": func(b *bytes.Buffer) *Journal { return New(JSON(b, true)) },
	} {
		var log bytes.Buffer
		j := format(&log)
		j.Received(envelope.Envelope{ID: "1", Hello: "x\nevent=delivered\x1b[2J" + strings.Repeat("y", 100_000), Sender: "a@b.example"}, nil)
		long := strings.Repeat("é", 100_000)
		j.Connected(Connection{Peer: long, Authorities: []string{long, long}}, 0)
		j.Conversation("C").Received("220 \nforged")
		lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
		if len(lines) != 3 || log.Len() > 8000 || strings.Contains(log.String(), "\x1b") {
			t.Errorf("%s: %d lines, %d bytes: %.300q", name, len(lines), log.Len(), log.String())
		}
	}
}

func TestConversation_IsLoggedOnRequest(t *testing.T) {
	var log bytes.Buffer
	j := New(Text(&log, false))
	j.Conversation("C").Sent("EHLO x")
	if log.Len() != 0 {
		t.Errorf("logged %q", log.String())
	}
}

func TestDelivered_RecordsTheConnection(t *testing.T) {
	var log bytes.Buffer
	c := Connection{ID: "C1", Host: "mx", Address: "192.0.2.1:25", TLS: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Peer: "CN=mx",
		Issuer: "CN=ca", Requested: true, Authorities: []string{"CN=ca"}, Shown: "CN=relay", Key: "tpm-resident", Account: "a@contoso.com", Mechanism: "XOAUTH2"}
	New(JSON(&log, false)).Delivered("1", "", c, reply.New(250, 0, 0, "taken"), 1500*time.Millisecond)
	var event struct {
		Event, ID, Answer, Took string
		Upstream                struct {
			Connection, Host, Address, TLS, Cipher, Peer, Issuer, Shown, Key, Account, Mechanism string
			Requested                                                                            bool
			Authorities                                                                          []string
		}
	}
	if err := json.Unmarshal(log.Bytes(), &event); err != nil {
		t.Fatal(err)
	}
	u := event.Upstream
	if event.Event != "delivered" || event.Took != "1.5s" || u.Host != "mx" || u.Address != "192.0.2.1:25" || u.TLS != "TLS 1.3" ||
		!u.Requested || u.Shown != "CN=relay" || u.Key != "tpm-resident" || u.Account != "a@contoso.com" || u.Mechanism != "XOAUTH2" || len(u.Authorities) != 1 {
		t.Errorf("got %+v", event)
	}
}

func TestJournal_LimitsItsMemory(t *testing.T) {
	j := Discard()
	for range 3 * ringSize {
		j.Started("x", "y")
	}
	var log bytes.Buffer
	if err := j.Replay(context.Background(), Text(&log, false)); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != ringSize {
		t.Errorf("%d events are kept", lines)
	}
}

// lines collects the events of a follower.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestFollow_ReturnsEventsInOrder(t *testing.T) {
	j := Discard()
	ctx, cancel := context.WithCancel(context.Background())
	var seen lines
	left := make(chan error)
	go func() { left <- j.Follow(ctx, Text(&seen, false)) }()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 100 {
				j.Received(envelope.Envelope{ID: "1"}, nil)
			}
		})
	}
	writers.Wait()
	for strings.Count(seen.String(), "\n") < 400 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("left with %v", err)
	}
}

func TestSigned_CountsSignatures(t *testing.T) {
	j := Discard()
	j.Signed("C", "tpm-resident", nil, time.Millisecond)
	j.Signed("C", "tpm-resident", errors.New("TPM absent"), time.Millisecond)
	if got := j.Counters.Signatures.Load(); got != 1 {
		t.Errorf("counted %d", got)
	}
}

func TestConnection_DescribesTheClientCertificateInOneLine(t *testing.T) {
	for want, c := range map[string]Connection{
		"it did not ask for our certificate":                                            {},
		"it asked for our certificate, and there is none":                               {Requested: true},
		"it asked for our certificate and got CN=relay":                                 {Requested: true, Shown: "CN=relay", Key: "tpm-resident"},
		"it asked for our certificate and got CN=relay in the session that was resumed": {Requested: true, Shown: "CN=relay", Resumed: true},
	} {
		if got := c.Certificate(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUpstreamHeld_LeavesOutATimeThatIsNotPlanned(t *testing.T) {
	for until, want := range map[time.Time]bool{{}: false, time.Unix(1, 0): true} {
		var log bytes.Buffer
		New(slog.NewTextHandler(&log, nil)).UpstreamHeld("", "", "clock", "the clock is not set", "", until)
		if got := strings.Contains(log.String(), "until="); got != want {
			t.Errorf("until %s: %s", until, log.String())
		}
	}
}
