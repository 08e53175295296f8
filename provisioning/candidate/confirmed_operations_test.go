package candidate

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"sealpost/provisioning/state"
)

// schemaOf is the stored schema of the version that wrote a text; the first
// stores none.
func schemaOf(text string) []byte {
	if text == "" || text == "a" {
		return nil
	}
	return []byte{'0' + text[0] - 'a'}
}

// operation is something that happens to the box, and to the model.
type operation struct {
	name  string
	real  func(context.Context) error
	model func(*model) error
}

func (r *rig) committing(name string, c Candidate) operation {
	r.commits++
	c.Settings = string(rune('a' + r.random.IntN(4)))
	if name == "stick" {
		c.Origin = fmt.Sprint(r.commits)
	}
	return operation{name + " " + c.Settings, func(ctx context.Context) error {
		// As Checker.Commit does once it has found nothing wrong, in whatever
		// version wrote this text.
		return r.store().Update(ctx, func(sections state.Sections) error {
			err := checked{Candidate: c}.put(sections, nil)
			sections[sectionSchema] = schemaOf(c.Settings)
			return err
		})
	}, func(m *model) error {
		m.stored.commit(c.Settings, c.Trial)
		return nil
	}}
}

func (r *rig) applied() operation {
	return operation{"applied", func(ctx context.Context) error { return r.commit.Applied(ctx) }, (*model).applied}
}

func (r *rig) confirming() operation {
	return operation{"confirm", func(ctx context.Context) error {
		if r.variant.confirm != nil {
			return r.variant.confirm(ctx, r.commit, r.first)
		}
		return r.commit.Confirm(ctx)
	}, (*model).confirm}
}

func (r *rig) rollingBack() operation {
	return operation{"roll back", func(ctx context.Context) error { return r.commit.RollBack(ctx) }, (*model).rollBack}
}

func (r *rig) passing() operation {
	lengths := []time.Duration{time.Second, 30 * time.Second, ConfirmTimeout - time.Second, ConfirmTimeout, ConfirmTimeout + time.Second, 7 * time.Minute}
	d := lengths[r.random.IntN(len(lengths))]
	return operation{"pass " + d.String(), func(context.Context) error {
		time.Sleep(d)
		synctest.Wait()
		return nil
	}, func(m *model) error { return m.pass(d) }}
}

// expiring is a timer that waited for its turn while its trial ended, as where
// somebody confirms at the last moment.
func (r *rig) expiring() operation {
	t := r.latest
	return operation{"timer too late", func(context.Context) error {
		if t != nil && t != r.commit.current() {
			r.commit.expire(t)
		}
		return nil
	}, func(*model) error { return nil }}
}

// any is an operation without a fault of its own.
func (r *rig) any() operation {
	switch n := r.random.IntN(17); {
	case n < 4:
		return r.committing("trial", Candidate{Trial: true})
	case n < 5:
		return r.committing("commit", Candidate{})
	case n < 7:
		return r.committing("stick", Candidate{})
	case n < 9:
		return r.applied()
	case n < 11:
		return r.confirming()
	case n < 12:
		return r.rollingBack()
	case n < 13:
		return r.expiring()
	default:
		return r.passing()
	}
}

// current is the trial whose time runs, or nil.
func (c *ConfirmedCommit) current() *trial {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trial
}
