package dispatch

import (
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// outcome is what has become of one recipient's copy.
type outcome int

const (
	pending outcome = iota // not taken, and not refused for good
	delivered
	refused
)

// verdict is what the replies to one message come to.
type verdict struct {
	outcomes      []outcome // in the order of the answers
	answers       []reply.Reply
	upstreamFault *report.Reading // why the upstream takes no mail now; nil where it does
	faultReply    reply.Reply     // the reply that says so
}

// verdict reads the replies by the route's table, and where that does not know
// them by their codes.
func (r *Route) verdict(result upstream.Result) verdict {
	v := verdict{answers: result.Answers, outcomes: make([]outcome, len(result.Answers))}
	for i, answer := range result.Answers {
		reading, isFault := r.fault(answer)
		switch {
		case answer.Positive() && result.Taken:
			v.outcomes[i] = delivered
		case answer.Positive():
		case isFault && v.upstreamFault == nil:
			v.upstreamFault, v.faultReply = &reading, answer
		case isFault:
		case answer.Permanent():
			v.outcomes[i] = refused
		}
	}
	return v
}

// all reports whether every recipient had this outcome.
func (v verdict) all(o outcome) bool { return v.count(o) == len(v.outcomes) }

func (v verdict) count(o outcome) int {
	n := 0
	for _, each := range v.outcomes {
		if each == o {
			n++
		}
	}
	return n
}

// faultWords says why the upstream takes no mail; there must be a fault.
func (v verdict) faultWords() string { return v.faultReply.String() + ": " + v.upstreamFault.Words() }

// deliveredWith is the reply by which the content was taken.
func (v verdict) deliveredWith() (answer reply.Reply, found bool) {
	for i, o := range v.outcomes {
		if o == delivered {
			return v.answers[i], true
		}
	}
	return reply.Reply{}, false
}

// worst is the first reply of the worst class: permanent before transient
// before positive.
func (v verdict) worst() reply.Reply {
	severity := func(r reply.Reply) int {
		switch {
		case r.Permanent():
			return 2
		case r.Transient():
			return 1
		}
		return 0
	}
	worst := v.answers[0]
	for _, answer := range v.answers[1:] {
		if severity(answer) > severity(worst) {
			worst = answer
		}
	}
	return worst
}
