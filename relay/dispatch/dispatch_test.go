package dispatch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// host is an Upstream of fixed answers.
type host struct {
	answers []reply.Reply
	content reply.Reply
	err     error
	asked   bool // the content was sent
}

func (h *host) Deliver(_ context.Context, _ envelope.Envelope, _ envelope.Content, judge func([]reply.Reply) bool) (upstream.Result, error) {
	if h.err != nil {
		return upstream.Result{}, h.err
	}
	result := upstream.Result{Answers: h.answers, Connection: journal.Connection{Host: "mx"}}
	if h.asked = judge(h.answers); !h.asked {
		return result, nil
	}
	for i := range result.Answers {
		result.Answers[i] = h.content
	}
	result.Taken = h.content.Positive()
	return result, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

var (
	ok      = reply.New(250, 1, 5, "OK")
	unknown = reply.New(550, 1, 1, "User unknown")
	grey    = reply.New(451, 7, 1, "greylisted")
	denied  = reply.New(550, 7, 64, "TenantAttribution; Relay Access Denied")
	queued  = reply.New(250, 6, 0, "Queued mail for delivery")
)

func TestTheClientHearsWhatBecameOfItsMessage(t *testing.T) {
	for name, c := range map[string]struct {
		host  host
		sent  bool
		code  int
		words []string
	}{
		"taken":                    {host{answers: []reply.Reply{ok, ok}, content: queued}, true, 250, []string{"2.0.0 taken by mx: 250 2.6.0 Queued"}},
		"one of two unknown":       {host{answers: []reply.Reply{ok, unknown}}, false, 550, []string{"5.1.1", "sent to nobody", "<b@x.example>: 550 5.1.1 User unknown"}},
		"one of two put off":       {host{answers: []reply.Reply{grey, ok}}, false, 451, []string{"4.7.1", "sent to nobody", "<a@x.example>: 451 4.7.1 greylisted"}},
		"one unknown, one put off": {host{answers: []reply.Reply{grey, unknown}}, false, 550, []string{"<a@x.example>: 451", "<b@x.example>: 550"}},
		"all refused alike":        {host{answers: []reply.Reply{denied, denied}}, false, 550, []string{"5.7.64 mx said: 550 5.7.64", "no connector of the tenant matches"}},
		"content refused":          {host{answers: []reply.Reply{ok, ok}, content: reply.New(554, 6, 0, "malformed")}, true, 554, []string{"mx said: 554 5.6.0 malformed"}},
		"content put off":          {host{answers: []reply.Reply{ok, ok}, content: grey}, true, 451, []string{"mx said: 451 4.7.1 greylisted"}},
		"nobody there":             {host{err: &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 1}, Reason: "cannot reach mx", Err: errors.New("secret detail")}}, false, 451, []string{"4.4.1 cannot reach mx"}},
		"a fault without words":    {host{err: errors.New("odd")}, false, 451, []string{"try again later"}},
	} {
		d := New(&c.host, journal.Discard(), time.Minute)
		e := envelope.Envelope{Recipients: []envelope.Address{"a@x.example", "b@x.example"}}
		answer := d.Accept(context.Background(), e, content("x"))
		if answer.Code != c.code || c.host.asked != c.sent {
			t.Errorf("%s: answered %s, content sent: %v", name, answer, c.host.asked)
		}
		for _, words := range c.words {
			if !strings.Contains(answer.String(), words) {
				t.Errorf("%s: %q lacks %q", name, answer, words)
			}
		}
		if strings.Contains(answer.String(), "secret") {
			t.Errorf("%s: the client was told the detail: %s", name, answer)
		}
	}
}

func TestALongListOfRefusalsIsCutForTheClient(t *testing.T) {
	h := &host{answers: []reply.Reply{ok}}
	e := envelope.Envelope{Recipients: []envelope.Address{"ok@x.example"}}
	for range 300 {
		h.answers = append(h.answers, unknown)
		e.Recipients = append(e.Recipients, "b@x.example")
	}
	answer := New(h, journal.Discard(), time.Minute).Accept(context.Background(), e, content("x"))
	if lines := strings.Count(answer.Text, "\n"); lines > 25 || !strings.Contains(answer.Text, "and 280 more") {
		t.Errorf("%d lines: %s", lines, answer.Text)
	}
}

func TestEveryOutcomeIsInTheJournal(t *testing.T) {
	var log bytes.Buffer
	j := journal.New(journal.JSON(&log, false))
	e := envelope.Envelope{ID: "ID1", Recipients: []envelope.Address{"a@x.example"}}
	for _, h := range []*host{
		{answers: []reply.Reply{ok}, content: queued},
		{answers: []reply.Reply{unknown}},
		{answers: []reply.Reply{grey}},
		{err: &upstream.Unavailable{Reason: "cannot reach mx", Err: errors.New("connection refused")}},
	} {
		New(h, j, time.Minute).Accept(context.Background(), e, content("x"))
	}
	for _, words := range []string{`"event":"delivered"`, `"event":"refused"`, `"event":"deferred"`, "connection refused", `"to":"<a@x.example>","answer":"550 5.1.1 User unknown"`} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the journal lacks %s:\n%s", words, log.String())
		}
	}
	if c := &j.Counters; c.Delivered.Load() != 1 || c.Refused.Load() != 1 || c.Deferred.Load() != 2 {
		t.Errorf("counted %d delivered, %d refused, %d deferred", c.Delivered.Load(), c.Refused.Load(), c.Deferred.Load())
	}
}
