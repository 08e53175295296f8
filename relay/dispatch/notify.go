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

// Notify says how senders are told of what became of their mail.
type Notify struct {
	Reporter   string           // our host name
	Site       string           // the site's name, for people
	From       envelope.Address // in the header of notifications
	Sender     envelope.Address // their reverse-path where the null one is not relayed
	NullSender bool             // the far side relays for the null reverse-path
	Alert      envelope.Address // who hears what the sender cannot be told; may be empty
}

// bounce tells the sender that the message was given up for those recipients.
// It is false where the notification finds no room; the recipients are then
// still owed something.
func (d *Dispatcher) bounce(q *queue.Queue, t *trial, places []int, reason string) bool {
	told := t.envelope.Report && d.redirect(q, t) || !t.envelope.Report && d.notify(q, report.Failed, t, places, reason)
	if !told {
		return false
	}
	for _, n := range places {
		d.journal.GivenUp(t.envelope.ID, t.envelope.Recipients[t.owed[n]], t.wordsFor(n, reason))
	}
	return true
}

// addressee is who is told about a message, and the notification's
// reverse-path. It is empty where there is nobody.
func (d *Dispatcher) addressee(e envelope.Envelope) (to, sender envelope.Address) {
	c := d.config.Notify
	if !c.NullSender {
		sender = c.Sender
	}
	if c.NullSender && e.Sender != "" {
		return e.Sender, sender
	}
	return c.Alert, sender
}

// notify puts a notification about the message into the queue.
func (d *Dispatcher) notify(q *queue.Queue, action report.Action, t *trial, places []int, reason string) bool {
	to, sender := d.addressee(t.envelope)
	if to == "" {
		d.journal.NobodyToTell(t.envelope.ID)
		return true
	}
	now := time.Now()
	unique := rand.Text()[:12]
	c := d.config.Notify
	n := report.Notification{Action: action, Reporter: c.Reporter, From: c.From, To: to, Sender: t.envelope.Sender,
		Site: c.Site, ID: t.envelope.ID, Unique: unique, Arrived: t.envelope.Received, Now: now,
		RetryUntil: t.envelope.Received.Add(d.config.Retry.Age), Reason: reason}
	for _, i := range places {
		n.Outcomes = append(n.Outcomes, t.outcome(i, now))
	}
	var text bytes.Buffer
	err := n.Write(&text, t.content.Content.Open())
	if err != nil {
		// The original is damaged; what became of it can be told all the same.
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

// redirect sends a notification that its addressee did not take to the alert
// address instead, once. There is none about a notification.
func (d *Dispatcher) redirect(q *queue.Queue, t *trial) bool {
	alert := d.config.Notify.Alert
	if alert == "" || t.envelope.Recipients[0] == alert {
		d.journal.NobodyToTell(t.envelope.ID)
		return true
	}
	e := t.envelope
	e.ID, e.Recipients, e.Received = rand.Text()[:12], []envelope.Address{alert}, time.Now()
	if t.own {
		e.Sender = d.config.Notify.Sender
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

// enqueue commits a message of our own and puts it on the schedule.
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
	d.put(ticket, d.upstream.Account(e))
	return nil
}

// outcome is what became of the n-th recipient that was owed the message.
func (t *trial) outcome(n int, now time.Time) report.Outcome {
	o := report.Outcome{Recipient: t.envelope.Recipients[t.owed[n]], Tried: now,
		Host: t.result.Connection.Host, Trustee: t.result.Trustee}
	if t.err == nil {
		o.Answer, o.Status = t.result.Answers[n], t.result.Answers[n].Status
		return o
	}
	o.Status = unavailable(t.err).Status
	return o
}

func (t *trial) wordsFor(n int, reason string) string {
	if t.err == nil && n < len(t.result.Answers) {
		answer := t.result.Answers[n]
		return t.explain(answer, []reply.Reply{answer}).String()
	}
	return reason
}
