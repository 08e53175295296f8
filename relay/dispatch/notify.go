package dispatch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/spool"
)

// Notify configures the notifications to senders (RFC 3464).
type Notify struct {
	Reporter   string           // our host name
	Site       string           // the site's name, shown in the text
	From       envelope.Address // From field of notifications
	Sender     envelope.Address // reverse-path of notifications if the null one is not relayed
	NullSender bool             // the server relays mail with the null reverse-path (RFC 5321 section 4.5.5)
	Alert      envelope.Address // notified if the sender cannot be; may be empty
}

// notificationAddress returns the recipient and the reverse-path of a
// notification about a message. to is empty if there is no address to notify.
func (r *Route) notificationAddress(e envelope.Envelope) (to, sender envelope.Address) {
	n := r.Notify
	if !n.NullSender {
		sender = n.Sender
	}
	if r.notifiesSender(e) {
		return e.Sender, sender
	}
	return n.Alert, sender
}

// withReversePath returns a notification's envelope with the reverse-path under which
// this route relays it: another route may have been in use when it was queued.
func (r *Route) withReversePath(e envelope.Envelope) envelope.Envelope {
	if e.Report && !r.only && (e.Sender != "" || !r.Notify.NullSender) {
		e.Sender = cmp.Or(r.Notify.Sender, r.Notify.From)
	}
	return e
}

// notifiesSender reports whether notifications about a message go to its sender.
func (r *Route) notifiesSender(e envelope.Envelope) bool {
	return r.Notify.NullSender && e.Sender != ""
}

// requested returns those of the indexes into pending whose recipient's NOTIFY parameter
// requests the notification (RFC 3461 section 4.1). NOTIFY controls notifications to the
// sender: with NEVER, a failure is in the journal only. If the sender cannot be
// notified, the alert address is notified of failure and delay whatever NOTIFY is,
// because the operator configured that, and not of success, which needs no action.
func (dl *delivery) requested(action report.Action, indexes []int) []int {
	event := map[report.Action]envelope.Notify{report.Failed: envelope.NotifyFailure,
		report.Delayed: envelope.NotifyDelay, report.Relayed: envelope.NotifySuccess}[action]
	toSender := dl.route.notifiesSender(dl.envelope)
	var requested []int
	for _, n := range indexes {
		if toSender && dl.envelope.DSN.Of(dl.pending[n]).Notify.Of(event) || !toSender && action != report.Relayed {
			requested = append(requested, n)
		}
	}
	return requested
}

// notifyOfRelaying notifies the sender that the message was relayed to a server that
// will not send the requested notification of success (RFC 3461 section 5.2.2). If the
// queue has no room for it, it is lost: repeating the delivery would be worse.
func (d *Dispatcher) notifyOfRelaying(q *queue.Queue, dl *delivery) {
	if q == nil || dl.err != nil || dl.result.DSN || dl.envelope.Report {
		return
	}
	var relayed []int
	for n := range dl.pending {
		if dl.outcome(n) == delivered {
			relayed = append(relayed, n)
		}
	}
	d.notify(q, report.Relayed, dl, relayed, "")
}

// notifyOfFailure notifies the sender that the message was given up for the recipients
// at indexes into pending. It returns false if the queue has no room for the
// notification; the recipients then stay pending.
func (d *Dispatcher) notifyOfFailure(q *queue.Queue, dl *delivery, indexes []int, reason string) bool {
	notified := dl.envelope.Report && d.redirectToAlert(q, dl) || !dl.envelope.Report && d.notify(q, report.Failed, dl, indexes, reason)
	if !notified {
		return false
	}
	for _, n := range indexes {
		text := reason
		if dl.err == nil && n < len(dl.result.Replies) && dl.result.Replies[n].Code != 0 {
			rcptReply := dl.result.Replies[n]
			text = dl.withExplanation(rcptReply, []reply.Reply{rcptReply}).String()
		}
		d.journal.GivenUp(dl.envelope.ID, dl.envelope.Recipients[dl.pending[n]], text)
	}
	return true
}

// notify queues a notification about the message for those of the recipients at indexes
// into pending for which it is requested. It returns false if the queue has no room.
func (d *Dispatcher) notify(q *queue.Queue, action report.Action, dl *delivery, indexes []int, reason string) bool {
	if indexes = dl.requested(action, indexes); len(indexes) == 0 {
		return true
	}
	to, sender := dl.route.notificationAddress(dl.envelope)
	if to == "" {
		d.journal.CannotNotify(dl.envelope.ID)
		return true
	}
	now := time.Now()
	unique := rand.Text()[:12]
	config := dl.route.Notify
	n := report.Notification{Action: action, Reporter: config.Reporter, From: config.From, To: to, Sender: dl.envelope.Sender,
		Site: config.Site, ID: dl.envelope.ID, Unique: unique, Arrived: dl.envelope.Received, Now: now,
		RetryUntil: dl.envelope.Received.Add(dl.route.Retry.Age), Reason: reason, Classify: dl.route.Classify,
		EnvelopeID: dl.envelope.DSN.ID}
	if dl.route.notifiesSender(dl.envelope) {
		n.Return = dl.envelope.DSN.Return // the alert address gets no content
	}
	for _, i := range indexes {
		n.Outcomes = append(n.Outcomes, dl.reportOutcome(i, now))
	}
	if action == report.Failed {
		n.Others = dl.others(indexes)
	}
	var text bytes.Buffer
	err := n.Write(&text, dl.content.Content.Open())
	if err != nil {
		// The original is damaged: send the notification without its header.
		err = n.Write(&text, bytes.NewReader(nil))
	}
	e := envelope.Envelope{ID: unique, Sender: sender, Recipients: []envelope.Address{to}, Received: now, Report: true,
		EightBit:  bytes.ContainsFunc(text.Bytes(), func(r rune) bool { return r > 127 }),
		LongLines: true} // the content that it returns may have some
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

// reportOutcome returns the outcome of the n-th pending recipient for a
// notification.
func (dl *delivery) reportOutcome(n int, now time.Time) report.Outcome {
	i := dl.pending[n]
	o := report.Outcome{Recipient: dl.envelope.Recipients[i], Original: dl.envelope.DSN.Of(i).Original, LastAttempt: now,
		Host: dl.hostOf(n), Route: dl.route.label(), Own: dl.err == nil && dl.result.Hosts != nil && dl.result.Hosts[n] == "", Trustee: dl.result.Trustee}
	if dl.err == nil && dl.result.Replies[n].Code != 0 {
		o.Reply, o.Status = dl.result.Replies[n], dl.result.Replies[n].Status
		return o
	}
	o.Status = replyFor(dl.err).Status
	return o
}

// hostOf returns the server that replied for the n-th pending recipient, or "".
func (dl *delivery) hostOf(n int) string {
	if dl.result.Hosts != nil {
		return dl.result.Hosts[n]
	}
	return dl.result.Connection.Host
}

// others returns the state of the recipients that a notification is not about. indexes
// into pending are those that it is about.
func (dl *delivery) others(indexes []int) []report.Other {
	about := make(map[int]bool)
	for _, n := range indexes {
		about[dl.pending[n]] = true
	}
	var others []report.Other
	for i, recipient := range dl.envelope.Recipients {
		state := report.OtherPending
		switch n := slices.Index(dl.pending, i); {
		case about[i]:
			continue
		case dl.progress.Failed.Has(i), n >= 0 && dl.outcome(n) == refused:
			state = report.OtherFailed
		case dl.progress.Settled.Has(i):
			state = report.OtherRelayed
		}
		others = append(others, report.Other{Recipient: recipient, State: state})
	}
	return others
}

// redirectToAlert sends a notification that the server rejected to the alert
// address, once. No notification is ever sent about a notification.
func (d *Dispatcher) redirectToAlert(q *queue.Queue, dl *delivery) bool {
	alert := dl.route.Notify.Alert
	if alert == "" || dl.envelope.Recipients[0] == alert {
		d.journal.CannotNotify(dl.envelope.ID)
		return true
	}
	e := dl.envelope
	e.ID, e.Recipients, e.Received = rand.Text()[:12], []envelope.Address{alert}, time.Now()
	if dl.messageFault {
		e.Sender = dl.route.Notify.Sender
	}
	err := d.enqueue(q, e, dl.content.Content.Open(), e.Size)
	if errors.Is(err, spool.ErrDamaged) {
		d.journal.CannotNotify(dl.envelope.ID)
		return true
	}
	if err != nil {
		d.journal.SpoolFault(err)
		return false
	}
	d.journal.Notified(dl.envelope.ID, e.ID, "redirected", alert)
	return true
}

// enqueue commits a message generated by the relay to the queue and schedules
// it.
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
	d.schedule(ticket, d.assignment(e))
	return nil
}
