package submission

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/body"
	"sealpost/relay/dispatch"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
	"sealpost/tests/rigs/tenant"
)

// minute represents one minute of the mailbox limits.
const minute = 200 * time.Millisecond

// limited configures the limits of an Exchange Online mailbox.
func limited(c *tenant.Config) {
	c.Submission.Connections, c.Submission.PerMinute, c.Submission.Minute = 3, 30, minute
}

// dispatcher starts a dispatcher with a spool in front of the submission.
func (s *site) dispatcher(t *testing.T, limits throttle.Limits) *dispatch.Dispatcher {
	t.Helper()
	store, _, err := spool.Open(simflash.New(16<<20, 1), bytes.Repeat([]byte{7}, spool.KeySize), spool.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	d := dispatch.New(dispatch.Config{
		ClientWait: 100 * time.Millisecond, Timeout: 10 * time.Second, Memory: body.NewBudget(64 << 20),
	}, []dispatch.Route{{
		Upstream: s.submission, Limits: limits,
		Retry:  dispatch.Retry{First: minute / 5, Longest: 2 * minute, Age: time.Hour, Warning: time.Hour},
		Notify: dispatch.Notify{Reporter: "relay.contoso.com", From: printer, Sender: printer, Alert: printer},
	}}, s.submission.journal)
	d.SetQueue(queue.New(store))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// burst sends messages from as many clients at once, and returns the replies.
func burst(d *dispatch.Dispatcher, messages int) []reply.Reply {
	var clients sync.WaitGroup
	replies := make([]reply.Reply, messages)
	for i := range replies {
		clients.Go(func() {
			e := message(fmt.Sprint(i), printer)
			e.Client, e.Received = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 20)}), time.Now()
			text := strings.ReplaceAll(string(scan), "Subject: scan", fmt.Sprintf("Subject: scan %d", i))
			in := d.Begin(e, int64(len(text)))
			if _, err := io.WriteString(in, text); err != nil {
				return
			}
			e.Size = int64(len(text))
			replies[i] = in.Accept(context.Background(), e)
		})
	}
	clients.Wait()
	return replies
}

func TestSubmission_KeepsTheMailboxLimitsInABurst(t *testing.T) {
	for name, c := range map[string]struct {
		limits      throttle.Limits
		connections int // of the mailbox, as configured
		maxDenials  int // at most: the messages in flight when a limit is first reached
	}{
		"configured": {throttle.Limits{Connections: 3, Rate: throttle.Rate{Messages: 30, Per: minute}}, 3, 0},
		"unknown":    {throttle.Limits{Connections: 6, Rate: throttle.Rate{Per: minute}}, 6, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, limited, func(config *Config) { config.PerMailbox = c.connections })
			d := s.dispatcher(t, c.limits)
			const messages = 500
			for i, r := range burst(d, messages) {
				if r.Code != 250 {
					t.Errorf("message %d: got reply %s, want 250", i, r)
				}
			}
			for end := time.Now().Add(time.Minute); len(s.tenant.Messages()) < messages && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			subjects := map[string]int{}
			for _, m := range s.tenant.Messages() {
				_, rest, _ := strings.Cut(string(m.Content), "Subject: ")
				subject, _, _ := strings.Cut(rest, "\r\n")
				subjects[subject]++
			}
			if len(subjects) != messages || len(s.tenant.Messages()) != messages {
				t.Errorf("got %d messages with %d subjects, want %d of each", len(s.tenant.Messages()), len(subjects), messages)
			}
			if s.tokens.issued != 1 {
				t.Errorf("got %d token requests, want 1", s.tokens.issued)
			}
			checkDenials(t, s.tenant.LimitReplies(), c.maxDenials)
		})
	}
}

// checkDenials fails the test if a limit was exceeded more often than the
// messages in flight when it was first reached.
func checkDenials(t *testing.T, denials []string, maxDenials int) {
	t.Helper()
	count := map[string]int{}
	for _, text := range denials {
		count[text]++
	}
	if maxDenials > 0 && len(count) != 2 {
		t.Errorf("got limit replies %v, want two different ones", count)
	}
	for text, n := range count {
		if n > maxDenials {
			t.Errorf("got %d times %s, want at most %d", n, text, maxDenials)
		}
	}
}
