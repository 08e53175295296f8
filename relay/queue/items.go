package queue

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/spool"
)

// Item is a queued message for display.
type Item struct {
	ID         string             `json:"id"` // as in the journal; the spool's number if the envelope is unreadable
	Number     ID                 `json:"number"`
	Client     string             `json:"client,omitempty"`
	Sender     envelope.Address   `json:"from"`
	Recipients []envelope.Address `json:"to"`
	Settled    []envelope.Address `json:"settled,omitempty"` // recipients to whom it was delivered
	Failed     []envelope.Address `json:"failed,omitempty"`  // recipients for whom it was given up
	Octets     int64              `json:"octets"`
	Received   time.Time          `json:"received,omitzero"`
	Attempts   int                `json:"attempts"`
	Next       time.Time          `json:"next,omitzero"`
	Last       string             `json:"last,omitempty"`  // description of the last attempt
	Route      string             `json:"route,omitempty"` // the only route that may send it; see Progress.Route
	Report     bool               `json:"notification,omitempty"`
	Damage     string             `json:"damage,omitempty"` // why it cannot be read; it can only be dropped
}

// Items returns the messages in the order of arrival.
func (q *Queue) Items() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for t := range q.Tickets() {
			item, err := q.item(t)
			if err == nil && !yield(item) {
				return
			}
		}
	}
}

// Find returns the message with that ID, or spool.ErrNotFound.
func (q *Queue) Find(id string) (Item, error) {
	for item := range q.Items() {
		if item.ID == id {
			return item, nil
		}
	}
	return Item{}, fmt.Errorf("%s: %w", id, spool.ErrNotFound)
}

func (q *Queue) item(t Ticket) (Item, error) {
	e, p, err := q.Load(t.ID)
	if errors.Is(err, spool.ErrNotFound) {
		return Item{}, err
	}
	if err != nil {
		return Item{ID: fmt.Sprint(t.ID), Number: t.ID, Octets: t.Size, Damage: err.Error()}, nil
	}
	item := Item{ID: e.ID, Number: t.ID, Sender: e.Sender, Octets: t.Size, Received: e.Received, Attempts: p.Attempts,
		Next: p.Next, Last: p.Last, Route: p.Route, Report: e.Report}
	if e.Client.IsValid() {
		item.Client = e.Client.Unmap().String()
	}
	for i, r := range e.Recipients {
		switch {
		case p.Failed.Has(i):
			item.Failed = append(item.Failed, r)
		case p.Settled.Has(i):
			item.Settled = append(item.Settled, r)
		default:
			item.Recipients = append(item.Recipients, r)
		}
	}
	return item, nil
}

// Text returns a message's content for display.
func (q *Queue) Text(item Item) io.Reader { return q.Content(item.Number, item.Octets).Open() }
