package dispatch

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/spool"
)

// Notify says how senders are notified of what became of their mail (RFC 3464).
type Notify struct {
	Reporter   string           // our host name
	Site       string           // the site's name, for people
	From       envelope.Address // in the header of notifications
	Sender     envelope.Address // their reverse-path where the null one is not relayed
	NullSender bool             // the server relays for the null reverse-path (RFC 5321 section 4.5.5)
	Alert      envelope.Address // who is notified where the sender cannot be; may be empty
}

// addressee is who is notified about a message, and the notification's
// reverse-path. It is empty where there is nobody.
func (r *Route) addressee(e envelope.Envelope) (to, sender envelope.Address) {
	n := r.Notify
	if !n.NullSender {
		sender = n.Sender
	}
	if n.NullSender && e.Sender != "" {
		return e.Sender, sender
	}
	return n.Alert, sender
}

// bounce notifies the sender that the message was given up for recipients, by
// their place in pending. It is false where the notification finds no room in
// the queue; the recipients stay pending then.
func (d *Dispatcher) bounce(q *queue.Queue, t *delivery, places []int, reason string) bool {
	notified := t.envelope.Report && d.redirect(q, t) || !t.envelope.Report && d.notify(q, report.Failed, t, places, reason)
	if !notified {
		return false
	}
	for _, n := range places {
		words := reason
		if t.err == nil && n < len(t.result.Answers) {
			answer := t.result.Answers[n]
			words = t.explain(answer, []reply.Reply{answer}).String()
		}
		d.journal.GivenUp(t.envelope.ID, t.envelope.Recipients[t.pending[n]], words)
	}
	return true
}

// notify puts a notification about the message into the queue. It is false where
// that has no room.
func (d *Dispatcher) notify(q *queue.Queue, action report.Action, t *delivery, places []int, reason string) bool {
	to, sender := t.route.addressee(t.envelope)
	if to == "" {
		d.journal.NobodyToTell(t.envelope.ID)
		return true
	}
	now := time.Now()
	unique := rand.Text()[:12]
	by := t.route.Notify
	n := report.Notification{Action: action, Reporter: by.Reporter, From: by.From, To: to, Sender: t.envelope.Sender,
		Site: by.Site, ID: t.envelope.ID, Unique: unique, Arrived: t.envelope.Received, Now: now,
		RetryUntil: t.envelope.Received.Add(t.route.Retry.Age), Reason: reason, Read: t.route.Read}
	for _, i := range places {
		n.Outcomes = append(n.Outcomes, t.reportOutcome(i, now))
	}
	var text bytes.Buffer
	err := n.Write(&text, t.content.Content.Open())
	if err != nil {
		// The original is damaged; its sender can be notified all the same.
		err = n.Write(&text, bytes.NewReader(nil))
	}
	e := envelope.Envelope{ID: unique, Sender: sender, Recipients: []envelope.Address{to}, Received: now, Report: true}
	if err == nil {
		err = d.enqueue(q, e, &text, int64(text.Len()))
	}
	if err != nil {
		d.journal.SpoolFault(err)
		return false
	}
	d.journal.Notified(t.envelope.ID, unique, string(action), to)
	return true
}

// reportOutcome is what became of the n-th pending recipient, for a
// notification.
func (t *delivery) reportOutcome(n int, now time.Time) report.Outcome {
	o := report.Outcome{Recipient: t.envelope.Recipients[t.pending[n]], Tried: now,
		Host: t.result.Connection.Host, Trustee: t.result.Trustee}
	if t.err == nil {
		o.Answer, o.Status = t.result.Answers[n], t.result.Answers[n].Status
		return o
	}
	o.Status = replyFor(t.err).Status
	return o
}

// redirect sends a notification that its addressee did not take to the alert
// address instead, once. A notification is never sent about a notification.
func (d *Dispatcher) redirect(q *queue.Queue, t *delivery) bool {
	alert := t.route.Notify.Alert
	if alert == "" || t.envelope.Recipients[0] == alert {
		d.journal.NobodyToTell(t.envelope.ID)
		return true
	}
	e := t.envelope
	e.ID, e.Recipients, e.Received = rand.Text()[:12], []envelope.Address{alert}, time.Now()
	if t.messageFault {
		e.Sender = t.route.Notify.Sender
	}
	err := d.enqueue(q, e, t.content.Content.Open(), e.Size)
	if errors.Is(err, spool.ErrDamaged) {
		d.journal.NobodyToTell(t.envelope.ID)
		return true
	}
	if err != nil {
		d.journal.SpoolFault(err)
		return false
	}
	d.journal.Notified(t.envelope.ID, e.ID, "redirected", alert)
	return true
}

// enqueue commits a message of the box's own to the queue and schedules it.
func (d *Dispatcher) enqueue(q *queue.Queue, e envelope.Envelope, content io.Reader, size int64) error {
	draft, err := q.Begin(e, size)
	if err != nil {
		return err
	}
	if _, err := io.Copy(draft, content); err != nil {
		draft.Abort()
		return err
	}
	ticket, err := draft.Commit(context.Background())
	if err != nil {
		return err
	}
	d.schedule(ticket, d.routeOf(e).Upstream.Account(e))
	return nil
}
