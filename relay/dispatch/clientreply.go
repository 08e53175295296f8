package dispatch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// finalReply returns the client's reply when every recipient was delivered to
// or refused.
func (dl *delivery) finalReply() (clientReply reply.Reply, final bool) {
	switch {
	case dl.err != nil:
		return reply.Reply{}, false
	case dl.evaluation.all(delivered):
		accepted := reply.New(250, 0, 0, "accepted by %s: %s", dl.result.Connection.Host, dl.evaluation.replies[0])
		if dl.instead != "" {
			accepted.Text += fmt.Sprintf("\nsent by %s, because of %s", dl.route.Name, dl.instead)
		}
		return accepted, true
	case dl.evaluation.all(refused):
		return dl.combinedReply(), true
	}
	return reply.Reply{}, false
}

// deferredReply returns the client's reply when recipients are still pending
// and the message could not be queued; queueErr is the reason.
func (dl *delivery) deferredReply(queueErr error) reply.Reply {
	var clientReply reply.Reply
	if dl.err != nil {
		clientReply = replyFor(dl.err)
	} else {
		clientReply = dl.combinedReply()
	}
	if dl.evaluation.upstreamFault != nil && clientReply.Permanent() {
		// The site's configuration is at fault: a 5yz would make the device discard the message.
		clientReply = reply.New(451, clientReply.Status.Subject, clientReply.Status.Detail, "%s", clientReply.Text)
	}
	if queueErr != nil && !errors.Is(queueErr, errNoSpool) {
		clientReply.Text += "\nthe message could not be queued either: " + queueErr.Error()
	}
	return clientReply
}

// replyFor returns the client's reply after a delivery without a usable server
// reply.
func replyFor(err error) reply.Reply {
	if u := (*upstream.Unavailable)(nil); errors.As(err, &u) {
		return u.ClientReply()
	}
	return reply.New(451, 3, 0, "the message cannot be delivered now, try again later")
}

// combinedReply returns the single reply that the client gets for all
// recipients (RFC 5321 section 4.2), for a message that is not queued and that
// no recipient received.
func (dl *delivery) combinedReply() reply.Reply {
	host, replies, combined := dl.result.Connection.Host, dl.result.Replies, dl.evaluation.worstReply()
	unanimous := !slices.ContainsFunc(replies, func(r reply.Reply) bool { return r != replies[0] })
	switch {
	case unanimous && host != "":
		combined.Text = fmt.Sprintf("%s said: %s", host, combined)
	case !unanimous:
		combined.Text = fmt.Sprintf("not sent, because %s did not accept every recipient\n%s", cmp.Or(host, "the mail hosts"), dl.rejectedRecipients())
	}
	if !combined.Transient() && !combined.Permanent() {
		return reply.New(451, 3, 0, "%s accepted the recipients, but the message was not sent", host)
	}
	return dl.withExplanation(combined, replies)
}

// rejectedRecipients lists the recipients that were not accepted and the
// replies to them, at most maxLines.
func (dl *delivery) rejectedRecipients() string {
	const maxLines = 20
	var lines []string
	for n, rcptReply := range dl.result.Replies {
		if rcptReply.Transient() || rcptReply.Permanent() {
			lines = append(lines, fmt.Sprintf("%s: %s", dl.envelope.Recipients[dl.pending[n]].Path(), rcptReply))
		}
	}
	if more := len(lines) - maxLines; more > 0 {
		lines = append(lines[:maxLines], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// withExplanation appends to clientReply the explanation of the first reply
// that the route's table knows.
func (dl *delivery) withExplanation(clientReply reply.Reply, replies []reply.Reply) reply.Reply {
	for _, each := range replies {
		if class, known := dl.route.Classify(each, dl.envelope.Sender, dl.result.Trustee); known && !each.Positive() {
			text := class.Text()
			if dl.isForeign() {
				text = "the domain of the sender " + dl.envelope.Sender.Path() + " is not in senders.accepted_domains: set the device's own address, or senders.default"
			}
			clientReply.Text += "\n" + text
			break
		}
	}
	return clientReply
}

// text describes the result of a delivery for people.
func (dl *delivery) text() string {
	if dl.err != nil {
		text := replyFor(dl.err).Text
		if class, isFault := dl.route.fault(dl.rejection()); isFault {
			text += ": " + class.Text()
		}
		return text
	}
	if dl.evaluation.upstreamFault != nil {
		return dl.evaluation.faultText()
	}
	return dl.withExplanation(dl.evaluation.worstReply(), dl.evaluation.replies).String()
}
