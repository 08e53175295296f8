package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"

	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// keeper is whoever has the queue: a running relay, or a command beside none.
type keeper interface {
	Queue() (*queue.Queue, error)
	Spool() *spool.Spool
	Status() dispatch.Status
	RetryAll() error
	Retry(id queue.ID) error
	Drop(item queue.Item) error
}

// calls are what the commands on the queue and the spool ask for. What they
// write is one JSON value a line.
func calls(k keeper) map[string]control.Call {
	return map[string]control.Call{
		"queue/list":   func(_ context.Context, _ url.Values, w io.Writer) error { return listQueue(k, w) },
		"queue/show":   func(_ context.Context, a url.Values, w io.Writer) error { return showMessage(k, a.Get("id"), w) },
		"queue/retry":  func(_ context.Context, a url.Values, w io.Writer) error { return retryMessage(k, a.Get("id"), w) },
		"queue/drop":   func(_ context.Context, a url.Values, w io.Writer) error { return dropMessage(k, a.Get("id"), w) },
		"spool/stat":   func(_ context.Context, _ url.Values, w io.Writer) error { return onSpool(k, w, statSpool) },
		"spool/verify": func(_ context.Context, _ url.Values, w io.Writer) error { return onSpool(k, w, verifySpool) },
	}
}

// listQueue writes the status and then the messages.
func listQueue(k keeper, w io.Writer) error {
	out := json.NewEncoder(w)
	if err := out.Encode(k.Status()); err != nil {
		return err
	}
	q, _ := k.Queue()
	if q == nil {
		return nil // the status says why
	}
	for item := range q.Items() {
		if err := out.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

// find gives a message by its name in the journal.
func find(k keeper, id string) (*queue.Queue, queue.Item, error) {
	q, err := k.Queue()
	if q == nil {
		return nil, queue.Item{}, err
	}
	item, err := q.Find(id)
	return q, item, err
}

// shown is a message with the beginning of its content.
type shown struct {
	queue.Item
	Header string `json:"header"`
}

func showMessage(k keeper, id string, w io.Writer) error {
	q, item, err := find(k, id)
	if err != nil {
		return err
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(q.Text(item), most))
	if err != nil && item.Damage == "" {
		item.Damage = err.Error()
	}
	return json.NewEncoder(w).Encode(shown{item, header(text)})
}

// done is what came of a call that changes something.
type done struct {
	Done string   `json:"done"`
	ID   string   `json:"id,omitempty"`
	To   []string `json:"to,omitempty"`
}

func retryMessage(k keeper, id string, w io.Writer) error {
	if id == "" {
		if err := k.RetryAll(); err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(done{Done: "every message is tried now"})
	}
	_, item, err := find(k, id)
	if err != nil {
		return err
	}
	if err := k.Retry(item.Number); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(done{Done: "it is tried now", ID: item.ID})
}

func dropMessage(k keeper, id string, w io.Writer) error {
	_, item, err := find(k, id)
	if err != nil {
		return err
	}
	if err := k.Drop(item); err != nil {
		return err
	}
	d := done{Done: "dropped; its sender was not told", ID: item.ID}
	for _, to := range item.Recipients {
		d.To = append(d.To, string(to))
	}
	return json.NewEncoder(w).Encode(d)
}

// onSpool does something with the spool, or says why there is none.
func onSpool(k keeper, w io.Writer, do func(*spool.Spool, io.Writer) error) error {
	if s := k.Spool(); s != nil {
		return do(s, w)
	}
	_, err := k.Queue()
	return err
}

func statSpool(s *spool.Spool, w io.Writer) error {
	return json.NewEncoder(w).Encode(stat{s.Stat()})
}

func verifySpool(s *spool.Spool, w io.Writer) error {
	v := verified{Messages: s.Stat().Messages}
	for _, damage := range s.Verify() {
		v.Damages = append(v.Damages, damage.String())
	}
	return json.NewEncoder(w).Encode(v)
}

// offline is the keeper where no relay runs: what it changes, the next relay
// finds.
type offline struct{ storage *storage }

func (o offline) Queue() (*queue.Queue, error) { return o.storage.queue(), nil }
func (o offline) Spool() *spool.Spool          { return o.storage.Spool }

func (o offline) Status() dispatch.Status {
	return dispatch.Status{HoldStatus: dispatch.HoldStatus{Held: "stopped", Reason: "no relay is running"}, Due: o.storage.Stat().Messages}
}

func (o offline) RetryAll() error {
	for ticket := range o.storage.queue().Tickets() {
		if err := o.Retry(ticket.ID); err != nil && !errors.Is(err, spool.ErrNotFound) && !errors.Is(err, spool.ErrDamaged) {
			return err
		}
	}
	return nil
}

func (o offline) Retry(id queue.ID) error { return o.storage.queue().MakeDue(id) }

func (o offline) Drop(item queue.Item) error { return o.storage.Remove(item.Number) }
