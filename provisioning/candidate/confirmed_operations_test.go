package candidate

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"sealpost/provisioning/state"
)

// schemaOf returns the schema number that the version that wrote a text stores; the
// first version stores none.
func schemaOf(text string) []byte {
	if text == "" || text == "a" {
		return nil
	}
	return []byte{'0' + text[0] - 'a'}
}

// operation is an action on the box, with its effect on the model.
type operation struct {
	name  string
	real  func(context.Context) error
	model func(*model) error
}

func (r *rig) commitOp(name string, c Candidate) operation {
	r.commits++
	c.Settings = string(rune('a' + r.random.IntN(4)))
	if name == "stick" {
		c.Origin = fmt.Sprint(r.commits)
	}
	return operation{name + " " + c.Settings, func(ctx context.Context) error {
		// As Checker.Commit does after a successful check, in the version that wrote
		// this text.
		return r.store().Update(ctx, func(sections state.Sections) error {
			err := checked{Candidate: c}.put(sections)
			sections[sectionSchema] = schemaOf(c.Settings)
			return err
		})
	}, func(m *model) error {
		m.stored.commit(c.Settings, c.Trial)
		return nil
	}}
}

func (r *rig) appliedOp() operation {
	return operation{"applied", func(ctx context.Context) error { return r.commit.Applied(ctx) }, (*model).applied}
}

func (r *rig) confirmOp() operation {
	return operation{"confirm", func(ctx context.Context) error {
		if r.variant.confirm != nil {
			return r.variant.confirm(ctx, r.commit, r.first)
		}
		return r.commit.Confirm(ctx)
	}, (*model).confirm}
}

func (r *rig) rollBackOp() operation {
	return operation{"roll back", func(ctx context.Context) error { return r.commit.RollBack(ctx) }, (*model).rollBack}
}

func (r *rig) waitOp() operation {
	lengths := []time.Duration{time.Second, 30 * time.Second, ConfirmTimeout - time.Second, ConfirmTimeout, ConfirmTimeout + time.Second, 7 * time.Minute}
	d := lengths[r.random.IntN(len(lengths))]
	return operation{"wait " + d.String(), func(context.Context) error {
		time.Sleep(d)
		synctest.Wait()
		return nil
	}, func(m *model) error { return m.advance(d) }}
}

// lateTimerOp is a timer that fires after its trial has ended, for example because
// somebody confirmed at the last moment.
func (r *rig) lateTimerOp() operation {
	t := r.latest
	return operation{"late timer", func(context.Context) error {
		if t != nil && t != r.commit.current() {
			r.commit.expire(t)
		}
		return nil
	}, func(*model) error { return nil }}
}

// randomOperation returns an operation without a fault.
func (r *rig) randomOperation() operation {
	switch n := r.random.IntN(17); {
	case n < 4:
		return r.commitOp("trial", Candidate{Trial: true})
	case n < 5:
		return r.commitOp("commit", Candidate{})
	case n < 7:
		return r.commitOp("stick", Candidate{})
	case n < 9:
		return r.appliedOp()
	case n < 11:
		return r.confirmOp()
	case n < 12:
		return r.rollBackOp()
	case n < 13:
		return r.lateTimerOp()
	default:
		return r.waitOp()
	}
}

// current returns the trial whose timer runs, or nil.
func (c *ConfirmedCommit) current() *trial {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trial
}
