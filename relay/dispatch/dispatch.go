// Package dispatch decides what becomes of a message that a client has given
// in full, and what the client hears.
//
// It works by cut-through: a message is offered to the upstream while the
// client waits, and the client's 250 is the upstream's. Nothing is kept, so
// nothing can be lost. It knows answers and what they mean; it must not know
// listeners, TLS or keys.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// Upstream is a way out of the box. Deliver's judge is asked once every
// recipient was answered, and says whether the content is to be sent.
type Upstream interface {
	Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
		judge func(answers []reply.Reply) bool) (upstream.Result, error)
}

// Dispatcher hands messages to the upstream.
type Dispatcher struct {
	upstream Upstream
	journal  *journal.Journal
	timeout  time.Duration
}

// New gives a dispatcher that lets one attempt take at most timeout.
func New(u Upstream, j *journal.Journal, timeout time.Duration) *Dispatcher {
	return &Dispatcher{upstream: u, journal: j, timeout: timeout}
}

// Accept offers the message upstream and gives the client's answer: 250 only
// after the upstream took it for every recipient.
func (d *Dispatcher) Accept(ctx context.Context, e envelope.Envelope, content envelope.Content) reply.Reply {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	result, err := d.upstream.Deliver(ctx, e, content, allAccepted)
	if err != nil {
		answer := unavailable(err)
		d.journal.Deferred(e.ID, answer, err, time.Since(begun))
		return answer
	}
	for i, answer := range result.Answers {
		d.journal.Answered(e.ID, e.Recipients[i], answer)
	}
	answer := clientAnswer(e, result)
	switch {
	case answer.Positive():
		d.journal.Delivered(e.ID, result.Connection, answer, time.Since(begun))
	case answer.Permanent():
		d.journal.Refused(e.ID, answer, time.Since(begun))
	default:
		d.journal.Deferred(e.ID, answer, nil, time.Since(begun))
	}
	return answer
}

// allAccepted is the judgment without a spool. The client hears one answer for
// all its recipients: were the content sent to some of them, a refusal would
// make the client send to those again, and a 250 would lose the others.
func allAccepted(answers []reply.Reply) bool {
	return !slices.ContainsFunc(answers, func(r reply.Reply) bool { return !r.Positive() })
}

func unavailable(err error) reply.Reply {
	if u := (*upstream.Unavailable)(nil); errors.As(err, &u) {
		return u.Reply()
	}
	return reply.New(451, 3, 0, "the message cannot be passed on now, try again later")
}

// clientAnswer makes one answer of the recipients' answers.
func clientAnswer(e envelope.Envelope, result upstream.Result) reply.Reply {
	host := result.Connection.Host
	worst := slices.MaxFunc(result.Answers, func(a, b reply.Reply) int { return weight(a) - weight(b) })
	switch {
	case result.Taken && worst.Positive():
		return reply.New(250, 0, 0, "taken by %s: %s", host, worst)
	case unanimous(result.Answers):
		worst.Text = fmt.Sprintf("%s said: %s", host, worst)
	default:
		worst.Text = fmt.Sprintf("sent to nobody, because %s did not accept every recipient\n%s", host, apart(e, result.Answers))
	}
	if worst.Positive() {
		return reply.New(451, 3, 0, "%s accepted the recipients, but the message was not sent", host)
	}
	return explain(worst, result.Answers)
}

// weight orders answers by how much they ask of the client.
func weight(r reply.Reply) int {
	switch {
	case r.Permanent():
		return 2
	case r.Transient():
		return 1
	}
	return 0
}

func unanimous(answers []reply.Reply) bool {
	return !slices.ContainsFunc(answers, func(r reply.Reply) bool { return r != answers[0] })
}

// apart tells the client which recipient was answered how, as far as a person
// would read.
func apart(e envelope.Envelope, answers []reply.Reply) string {
	const most = 20
	var lines []string
	for i, answer := range answers {
		if !answer.Positive() {
			lines = append(lines, fmt.Sprintf("%s: %s", e.Recipients[i].Path(), answer))
		}
	}
	if more := len(lines) - most; more > 0 {
		lines = append(lines[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// explain adds our reading of an answer that Exchange Online is known for.
func explain(answer reply.Reply, answers []reply.Reply) reply.Reply {
	for _, given := range answers {
		if reading, known := report.Read(given); known && !given.Positive() {
			answer.Text += "\n" + reading.Words()
			break
		}
	}
	return answer
}
