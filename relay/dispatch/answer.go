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
func (dl *delivery) finalAnswer() (answer reply.Reply, final bool) {
	switch {
	case dl.err != nil:
		return reply.Reply{}, false
	case dl.verdict.all(delivered):
		return reply.New(250, 0, 0, "taken by %s: %s", dl.result.Connection.Host, dl.verdict.answers[0]), true
	case dl.verdict.all(refused):
		return dl.clientAnswer(), true
	}
	return reply.Reply{}, false
}

// deferredAnswer is the client's answer where something remains to be done and
// the message cannot be kept for it; keepErr says why.
func (dl *delivery) deferredAnswer(keepErr error) reply.Reply {
	var answer reply.Reply
	if dl.err != nil {
		answer = replyFor(dl.err)
	} else {
		answer = dl.clientAnswer()
	}
	if dl.verdict.upstreamFault != nil && answer.Permanent() {
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
func (dl *delivery) clientAnswer() reply.Reply {
	host, answers, worst := dl.result.Connection.Host, dl.result.Answers, dl.verdict.worst()
	unanimous := !slices.ContainsFunc(answers, func(r reply.Reply) bool { return r != answers[0] })
	if unanimous {
		worst.Text = fmt.Sprintf("%s said: %s", host, worst)
	} else {
		worst.Text = fmt.Sprintf("sent to nobody, because %s did not accept every recipient\n%s", host, dl.refusals())
	}
	if worst.Positive() {
		return reply.New(451, 3, 0, "%s accepted the recipients, but the message was not sent", host)
	}
	return dl.explain(worst, answers)
}

// refusals lists the recipients that were not accepted and the replies to them,
// as many as a person would read.
func (dl *delivery) refusals() string {
	const longest = 20
	var lines []string
	for n, answer := range dl.result.Answers {
		if !answer.Positive() {
			lines = append(lines, fmt.Sprintf("%s: %s", dl.envelope.Recipients[dl.pending[n]].Path(), answer))
		}
	}
	if more := len(lines) - longest; more > 0 {
		lines = append(lines[:longest], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// explain adds to an answer what the first known one of the replies means.
func (dl *delivery) explain(answer reply.Reply, replies []reply.Reply) reply.Reply {
	for _, given := range replies {
		if reading, known := dl.route.Read(given, dl.envelope.Sender, dl.result.Trustee); known && !given.Positive() {
			answer.Text += "\n" + reading.Words()
			break
		}
	}
	return answer
}

// words is the result of a delivery in words, for people.
func (dl *delivery) words() string {
	if dl.err != nil {
		words := replyFor(dl.err).Text
		if reading, isFault := dl.route.fault(dl.refusal()); isFault {
			words += ": " + reading.Words()
		}
		return words
	}
	if dl.verdict.upstreamFault != nil {
		return dl.verdict.faultWords()
	}
	return dl.explain(dl.verdict.worst(), dl.verdict.answers).String()
}
