package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// finalAnswer is the client's answer where nothing remains to be done.
func (t *delivery) finalAnswer() (answer reply.Reply, final bool) {
	switch {
	case t.err != nil:
		return reply.Reply{}, false
	case t.verdict.all(delivered):
		return reply.New(250, 0, 0, "taken by %s: %s", t.result.Connection.Host, t.verdict.answers[0]), true
	case t.verdict.all(refused):
		return t.clientAnswer(), true
	}
	return reply.Reply{}, false
}

// deferredAnswer is the client's answer where something remains to be done and
// the message cannot be kept for it; keepErr says why.
func (t *delivery) deferredAnswer(keepErr error) reply.Reply {
	var answer reply.Reply
	if t.err != nil {
		answer = replyFor(t.err)
	} else {
		answer = t.clientAnswer()
	}
	if t.verdict.upstreamFault != nil && answer.Permanent() {
		// A fault of the site is no reason for a device to give its message up.
		answer = reply.New(451, answer.Status.Subject, answer.Status.Detail, "%s", answer.Text)
	}
	if keepErr != nil && !errors.Is(keepErr, errNoSpool) {
		answer.Text += "\nit cannot be kept here either: " + keepErr.Error()
	}
	return answer
}

// replyFor is the reply to a client in place of one of the server.
func replyFor(err error) reply.Reply {
	if u := (*upstream.Unavailable)(nil); errors.As(err, &u) {
		return u.Reply()
	}
	return reply.New(451, 3, 0, "the message cannot be passed on now, try again later")
}

// clientAnswer is the one reply of RFC 5321 section 4.2 that a client gets for
// all recipients, where the message is not kept: one was refused, or nobody got
// it.
func (t *delivery) clientAnswer() reply.Reply {
	host, answers, worst := t.result.Connection.Host, t.result.Answers, t.verdict.worst()
	unanimous := !slices.ContainsFunc(answers, func(r reply.Reply) bool { return r != answers[0] })
	if unanimous {
		worst.Text = fmt.Sprintf("%s said: %s", host, worst)
	} else {
		worst.Text = fmt.Sprintf("sent to nobody, because %s did not accept every recipient\n%s", host, t.refusals())
	}
	if worst.Positive() {
		return reply.New(451, 3, 0, "%s accepted the recipients, but the message was not sent", host)
	}
	return t.explain(worst, answers)
}

// refusals lists the recipients that were not accepted and the replies to them,
// as many as a person would read.
func (t *delivery) refusals() string {
	const longest = 20
	var lines []string
	for n, answer := range t.result.Answers {
		if !answer.Positive() {
			lines = append(lines, fmt.Sprintf("%s: %s", t.envelope.Recipients[t.pending[n]].Path(), answer))
		}
	}
	if more := len(lines) - longest; more > 0 {
		lines = append(lines[:longest], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// explain adds to an answer what the first known one of the replies means.
func (t *delivery) explain(answer reply.Reply, replies []reply.Reply) reply.Reply {
	for _, given := range replies {
		if reading, known := t.route.Read(given, t.envelope.Sender, t.result.Trustee); known && !given.Positive() {
			answer.Text += "\n" + reading.Words()
			break
		}
	}
	return answer
}

// words is the result of a delivery in words, for people.
func (t *delivery) words() string {
	if t.err != nil {
		words := replyFor(t.err).Text
		if reading, isFault := t.route.fault(t.refusal()); isFault {
			words += ": " + reading.Words()
		}
		return words
	}
	if t.verdict.upstreamFault != nil {
		return t.verdict.faultWords()
	}
	return t.explain(t.verdict.worst(), t.verdict.answers).String()
}
