package dispatch

import (
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// fate is what has become of one recipient's copy.
type fate int

const (
	owed fate = iota // not taken, and not refused for good
	delivered
	refused
)

// verdict is what the answers to one message come to.
type verdict struct {
	fates   []fate // in the order of the answers
	answers []reply.Reply
	hold    *report.Reading // why the upstream as a whole takes no mail now
	held    reply.Reply     // the answer that says so
}

// read judges the answers by the table of what Exchange Online is known for,
// and where that says nothing by their codes.
func read(result upstream.Result) verdict {
	v := verdict{answers: result.Answers, fates: make([]fate, len(result.Answers))}
	for i, answer := range result.Answers {
		v.fates[i] = v.judge(answer, result.Taken)
	}
	return v
}

func (v *verdict) judge(answer reply.Reply, taken bool) fate {
	if answer.Positive() {
		if taken {
			return delivered
		}
		return owed
	}
	reading, known := report.Read(answer)
	if known && reading.Kind != report.Message {
		if v.hold == nil {
			v.hold, v.held = &reading, answer
		}
		return owed
	}
	if answer.Permanent() {
		return refused
	}
	return owed
}

// all tells whether every recipient met this fate.
func (v verdict) all(f fate) bool { return v.count(f) == len(v.fates) }

func (v verdict) count(f fate) int {
	n := 0
	for _, each := range v.fates {
		if each == f {
			n++
		}
	}
	return n
}

// holdWords says why the upstream as a whole takes no mail; there must be a hold.
func (v verdict) holdWords() string { return v.held.String() + ": " + v.hold.Words() }

// deliveredWith is the answer by which the content was taken.
func (v verdict) deliveredWith() (answer reply.Reply, some bool) {
	for i, f := range v.fates {
		if f == delivered {
			return v.answers[i], true
		}
	}
	return reply.Reply{}, false
}

// worst is the answer that asks the most of the client or of us.
func (v verdict) worst() reply.Reply {
	worst := v.answers[0]
	for _, answer := range v.answers[1:] {
		if weight(answer) > weight(worst) {
			worst = answer
		}
	}
	return worst
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
