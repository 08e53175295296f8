package dispatch

import (
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// outcome is the state of one recipient, as in RFC 3464.
type outcome int

const (
	pending outcome = iota // neither delivered nor permanently refused
	delivered
	refused
)

// evaluation is what the server's replies mean for one message.
type evaluation struct {
	outcomes      []outcome // in the order of replies
	replies       []reply.Reply
	upstreamFault *report.Classification // why the upstream accepts no mail; nil if it does
	faultReply    reply.Reply            // the reply with that fault
}

// evaluate classifies the replies by the route's table, and replies that it
// does not know by their code.
func (r *Route) evaluate(result upstream.Result) evaluation {
	v := evaluation{replies: result.Replies, outcomes: make([]outcome, len(result.Replies))}
	for i, rcptReply := range result.Replies {
		class, isFault := r.fault(rcptReply)
		switch {
		case len(result.Unanswered) > 0 && result.Unanswered[i]:
		case rcptReply.Positive() && result.Accepted:
			v.outcomes[i] = delivered
		case rcptReply.Positive():
		case isFault && v.upstreamFault == nil:
			v.upstreamFault, v.faultReply = &class, rcptReply
		case isFault:
		case rcptReply.Permanent():
			v.outcomes[i] = refused
		}
	}
	return v
}

// hold records a fault of the upstream and leaves the recipients pending.
func (v *evaluation) hold(class report.Classification, faultReply reply.Reply) {
	v.upstreamFault, v.faultReply = &class, faultReply
	v.postpone()
}

// postpone leaves every recipient that does not have the message to a later attempt.
func (v *evaluation) postpone() {
	for i, o := range v.outcomes {
		if o != delivered {
			v.outcomes[i] = pending
		}
	}
}

// refuse ignores the upstream's fault: recipients with a permanent reply are refused.
func (v *evaluation) refuse() {
	v.upstreamFault = nil
	for i, each := range v.replies {
		if v.outcomes[i] == pending && each.Permanent() {
			v.outcomes[i] = refused
		}
	}
}

// all reports whether every recipient has outcome o.
func (v evaluation) all(o outcome) bool { return v.count(o) == len(v.outcomes) }

func (v evaluation) count(o outcome) int {
	n := 0
	for _, each := range v.outcomes {
		if each == o {
			n++
		}
	}
	return n
}

// faultText describes upstreamFault, which must not be nil.
func (v evaluation) faultText() string { return v.faultReply.String() + ": " + v.upstreamFault.Text() }

// deliveryReply returns the reply that confirmed delivery.
func (v evaluation) deliveryReply() (deliveryReply reply.Reply, found bool) {
	for i, o := range v.outcomes {
		if o == delivered {
			return v.replies[i], true
		}
	}
	return reply.Reply{}, false
}

// worstReply returns the first reply of the most severe class: permanent before
// transient before none before positive.
func (v evaluation) worstReply() reply.Reply {
	severity := func(r reply.Reply) int {
		switch {
		case r.Permanent():
			return 3
		case r.Transient():
			return 2
		case r.Positive():
			return 0
		}
		return 1
	}
	worst := v.replies[0]
	for _, rcptReply := range v.replies[1:] {
		if severity(rcptReply) > severity(worst) {
			worst = rcptReply
		}
	}
	return worst
}
