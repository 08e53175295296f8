package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"sealpost/hal/printable"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/policy"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// queueAdmin gives access to the queue: in a running relay, or offline.
type queueAdmin interface {
	queue() (*queue.Queue, error) // nil and the reason if there is none
	spool() *spool.Spool          // nil if there is no queue
	retryAll() error
	retryTime() string // when a retry starts, for people
	retry(id queue.ID) error
	drop(item queue.Item) error
}

// Health implements [control.Relay]. A relay without a spool is healthy: it
// reports the reason to clients, and a restart would not help.
func (s *Server) Health(ctx context.Context) error {
	if err := s.dispatcher.Failed(); err != nil {
		return fmt.Errorf("the spool: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, GreetTimeout)
	defer cancel()
	s.dispatcher.Status() // returns unless the dispatcher is deadlocked
	return CheckListeners(ctx, s.config.SMTP)
}

// Status implements [control.Relay].
func (s *Server) Status(context.Context) (dispatch.Status, error) { return s.dispatcher.Status(), nil }

// Messages implements [control.Relay].
func (s *Server) Messages(context.Context) iter.Seq2[queue.Item, error] {
	return func(yield func(queue.Item, error) bool) {
		for item, err := range messages(s) {
			if since, sending := s.dispatcher.Sending(item); sending && item.Last == "" {
				item.Last = fmt.Sprintf("no reply for %s so far", time.Since(since).Round(time.Second))
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// Show implements [control.Relay].
func (s *Server) Show(_ context.Context, id string) (control.Message, error) { return show(s, id) }

// Retry implements [control.Relay].
func (s *Server) Retry(_ context.Context, id string) (control.Done, error) { return retry(s, id) }

// Drop implements [control.Relay].
func (s *Server) Drop(_ context.Context, id string) (control.Done, error) { return drop(s, id) }

// SpoolStat implements [control.Relay].
func (s *Server) SpoolStat(context.Context) (spool.Stat, error) { return stat(s) }

// SpoolVerify implements [control.Relay].
func (s *Server) SpoolVerify(context.Context) (control.Verification, error) { return verify(s) }

func (s *Server) queue() (*queue.Queue, error) { return s.dispatcher.Queue() }
func (s *Server) retryTime() string            { return "now" }
func (s *Server) retryAll() error              { return s.dispatcher.RetryAll() }
func (s *Server) retry(id queue.ID) error      { return s.dispatcher.Retry(id) }
func (s *Server) drop(item queue.Item) error   { return s.dispatcher.Drop(item) }
func (s *Server) spool() *spool.Spool {
	if opened := s.opened(); opened != nil {
		return opened.Spool
	}
	return nil
}

// Offline gives access to the queue while no relay runs; the next relay picks
// up the changes. The caller closes the storage.
type Offline struct{ Storage *Storage }

// Health implements [control.Relay].
func (o Offline) Health(context.Context) error { return control.ErrNoRelay }

// Status implements [control.Relay].
func (o Offline) Status(context.Context) (dispatch.Status, error) {
	return dispatch.Status{HoldStatus: dispatch.HoldStatus{Held: "stopped", Reason: "no relay is running"}, Due: o.Storage.Stat().Messages}, nil
}

// Messages implements [control.Relay].
func (o Offline) Messages(context.Context) iter.Seq2[queue.Item, error] { return messages(o) }

// Show implements [control.Relay].
func (o Offline) Show(_ context.Context, id string) (control.Message, error) { return show(o, id) }

// Retry implements [control.Relay].
func (o Offline) Retry(_ context.Context, id string) (control.Done, error) { return retry(o, id) }

// Drop implements [control.Relay].
func (o Offline) Drop(_ context.Context, id string) (control.Done, error) { return drop(o, id) }

// SpoolStat implements [control.Relay].
func (o Offline) SpoolStat(context.Context) (spool.Stat, error) { return stat(o) }

// Devices implements [control.Relay].
func (o Offline) Devices(context.Context) iter.Seq2[control.Device, error] {
	return func(yield func(control.Device, error) bool) { yield(control.Device{}, control.ErrNoRelay) }
}

// LearnMode implements [control.Relay].
func (o Offline) LearnMode(context.Context) (control.LearnMode, error) {
	return control.LearnMode{}, control.ErrNoRelay
}

// Learn implements [control.Relay].
func (o Offline) Learn(context.Context, control.LearnMode) (control.LearnMode, error) {
	return control.LearnMode{}, control.ErrNoRelay
}

// Explain implements [control.Relay].
func (o Offline) Explain(context.Context, control.Question) (policy.Decision, error) {
	return policy.Decision{}, control.ErrNoRelay
}

// SpoolVerify implements [control.Relay].
func (o Offline) SpoolVerify(context.Context) (control.Verification, error) { return verify(o) }

func (o Offline) queue() (*queue.Queue, error) { return o.Storage.Queue(), nil }
func (o Offline) spool() *spool.Spool          { return o.Storage.Spool }
func (o Offline) retry(id queue.ID) error      { return o.Storage.Queue().MakeDue(id) }
func (o Offline) drop(item queue.Item) error   { return o.Storage.Remove(item.Number) }
func (o Offline) retryTime() string            { return "as soon as a relay runs" }
func (o Offline) retryAll() error {
	for ticket := range o.Storage.Queue().Tickets() {
		if err := o.retry(ticket.ID); err != nil && !errors.Is(err, spool.ErrNotFound) && !errors.Is(err, spool.ErrDamaged) {
			return err
		}
	}
	return nil
}

func messages(a queueAdmin) iter.Seq2[queue.Item, error] {
	return func(yield func(queue.Item, error) bool) {
		q, _ := a.queue()
		if q == nil {
			return // Status reports the reason
		}
		for item := range q.Items() {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// find returns the message with that ID.
func find(a queueAdmin, id string) (*queue.Queue, queue.Item, error) {
	q, err := a.queue()
	if q == nil {
		return nil, queue.Item{}, err
	}
	item, err := q.Find(id)
	return q, item, err
}

func show(a queueAdmin, id string) (control.Message, error) {
	q, item, err := find(a, id)
	if err != nil {
		return control.Message{}, err
	}
	const maxContent = 64 << 10
	text, err := io.ReadAll(io.LimitReader(q.Text(item), maxContent))
	if err != nil && item.Damage == "" {
		item.Damage = err.Error()
	}
	return control.Message{Item: item, Header: printableHeader(text)}, nil
}

// printableHeader returns the header section of a message as text that is safe to
// show.
func printableHeader(text []byte) string {
	head, _, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	return printable.Text(strings.ReplaceAll(string(head), "\r\n", "\n"))
}

func retry(a queueAdmin, id string) (control.Done, error) {
	when := a.retryTime()
	if id == "" {
		return control.Done{Done: "every message will be tried " + when}, a.retryAll()
	}
	_, item, err := find(a, id)
	if err != nil {
		return control.Done{}, err
	}
	return control.Done{Done: "it will be tried " + when, ID: item.ID}, a.retry(item.Number)
}

func drop(a queueAdmin, id string) (control.Done, error) {
	_, item, err := find(a, id)
	if err != nil {
		return control.Done{}, err
	}
	done := control.Done{Done: "dropped; its sender was not notified", ID: item.ID}
	for _, to := range item.Recipients {
		done.To = append(done.To, string(to))
	}
	return done, a.drop(item)
}

func stat(a queueAdmin) (spool.Stat, error) {
	if s := a.spool(); s != nil {
		return s.Stat(), nil
	}
	_, err := a.queue()
	return spool.Stat{}, err
}

func verify(a queueAdmin) (control.Verification, error) {
	s := a.spool()
	if s == nil {
		_, err := a.queue()
		return control.Verification{}, err
	}
	v := control.Verification{Messages: s.Stat().Messages}
	for _, damage := range s.Verify() {
		v.Damages = append(v.Damages, damage.String())
	}
	return v, nil
}
