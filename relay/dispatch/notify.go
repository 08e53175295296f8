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
func (d *Dispatcher) bounce(q *queue.Queue, dl *delivery, places []int, reason string) bool {
	notified := dl.envelope.Report && d.redirect(q, dl) || !dl.envelope.Report && d.notify(q, report.Failed, dl, places, reason)
	if !notified {
		return false
	}
	for _, n := range places {
		words := reason
		if dl.err == nil && n < len(dl.result.Answers) {
			answer := dl.result.Answers[n]
			words = dl.explain(answer, []reply.Reply{answer}).String()
		}
		d.journal.GivenUp(dl.envelope.ID, dl.envelope.Recipients[dl.pending[n]], words)
	}
	return true
}

// notify puts a notification about the message into the queue. It is false where
// that has no room.
func (d *Dispatcher) notify(q *queue.Queue, action report.Action, dl *delivery, places []int, reason string) bool {
	to, sender := dl.route.addressee(dl.envelope)
	if to == "" {
		d.journal.NobodyToTell(dl.envelope.ID)
		return true
	}
	now := time.Now()
	unique := rand.Text()[:12]
	by := dl.route.Notify
	n := report.Notification{Action: action, Reporter: by.Reporter, From: by.From, To: to, Sender: dl.envelope.Sender,
		Site: by.Site, ID: dl.envelope.ID, Unique: unique, Arrived: dl.envelope.Received, Now: now,
		RetryUntil: dl.envelope.Received.Add(dl.route.Retry.Age), Reason: reason, Read: dl.route.Read}
	for _, i := range places {
		n.Outcomes = append(n.Outcomes, dl.reportOutcome(i, now))
	}
	var text bytes.Buffer
	err := n.Write(&text, dl.content.Content.Open())
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
	d.journal.Notified(dl.envelope.ID, unique, string(action), to)
	return true
}

// reportOutcome is what became of the n-th pending recipient, for a
// notification.
func (dl *delivery) reportOutcome(n int, now time.Time) report.Outcome {
	o := report.Outcome{Recipient: dl.envelope.Recipients[dl.pending[n]], Tried: now,
		Host: dl.result.Connection.Host, Trustee: dl.result.Trustee}
	if dl.err == nil {
		o.Answer, o.Status = dl.result.Answers[n], dl.result.Answers[n].Status
		return o
	}
	o.Status = replyFor(dl.err).Status
	return o
}

// redirect sends a notification that its addressee did not take to the alert
// address instead, once. A notification is never sent about a notification.
func (d *Dispatcher) redirect(q *queue.Queue, dl *delivery) bool {
	alert := dl.route.Notify.Alert
	if alert == "" || dl.envelope.Recipients[0] == alert {
		d.journal.NobodyToTell(dl.envelope.ID)
		return true
	}
	e := dl.envelope
	e.ID, e.Recipients, e.Received = rand.Text()[:12], []envelope.Address{alert}, time.Now()
	if dl.messageFault {
		e.Sender = dl.route.Notify.Sender
	}
	err := d.enqueue(q, e, dl.content.Content.Open(), e.Size)
	if errors.Is(err, spool.ErrDamaged) {
		d.journal.NobodyToTell(dl.envelope.ID)
		return true
	}
	if err != nil {
		d.journal.SpoolFault(err)
		return false
	}
	d.journal.Notified(dl.envelope.ID, e.ID, "redirected", alert)
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
