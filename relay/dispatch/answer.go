package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

func unavailable(err error) reply.Reply {
	if u := (*upstream.Unavailable)(nil); errors.As(err, &u) {
		return u.Reply()
	}
	return reply.New(451, 3, 0, "the message cannot be passed on now, try again later")
}

// unkept is the client's answer where something remains to be done and the
// message cannot be kept for it.
func unkept(t *trial, err error) reply.Reply {
	var answer reply.Reply
	if t.err != nil {
		answer = unavailable(t.err)
	} else {
		answer = clientAnswer(t)
	}
	if t.verdict.hold != nil && answer.Permanent() {
		// The site's fault is no reason for a device to give its message up.
		answer = reply.New(451, answer.Status.Subject, answer.Status.Detail, "%s", answer.Text)
	}
	if err != nil && !errors.Is(err, errNoSpool) {
		answer.Text += "\nit cannot be kept here either: " + err.Error()
	}
	return answer
}

// clientAnswer makes one answer of the recipients' answers, where the message
// is not kept: one was refused, or nobody got it.
func clientAnswer(t *trial) reply.Reply {
	host, worst := t.result.Connection.Host, t.verdict.worst()
	switch {
	case unanimous(t.result.Answers):
		worst.Text = fmt.Sprintf("%s said: %s", host, worst)
	default:
		worst.Text = fmt.Sprintf("sent to nobody, because %s did not accept every recipient\n%s", host, apart(t))
	}
	if worst.Positive() {
		return reply.New(451, 3, 0, "%s accepted the recipients, but the message was not sent", host)
	}
	return t.explain(worst, t.result.Answers)
}

func unanimous(answers []reply.Reply) bool {
	return !slices.ContainsFunc(answers, func(r reply.Reply) bool { return r != answers[0] })
}

// apart tells the client which recipient was answered how, as far as a person
// would read.
func apart(t *trial) string {
	const most = 20
	var lines []string
	for n, answer := range t.result.Answers {
		if !answer.Positive() {
			lines = append(lines, fmt.Sprintf("%s: %s", t.envelope.Recipients[t.owed[n]].Path(), answer))
		}
	}
	if more := len(lines) - most; more > 0 {
		lines = append(lines[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// explain adds our reading of an answer that Exchange Online is known for.
func (t *trial) explain(answer reply.Reply, answers []reply.Reply) reply.Reply {
	for _, given := range answers {
		if reading, known := report.ReadFor(given, t.envelope.Sender, t.result.Trustee); known && !given.Positive() {
			answer.Text += "\n" + reading.Words()
			break
		}
	}
	return answer
}
