package dispatch

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/report"
)

// Alert queues a mail to the alert address. Without such an address, or without room in
// the queue, it does nothing but journal that.
func (d *Dispatcher) Alert(subject, text string) {
	config, unique := d.routes[0].Notify, rand.Text()[:12]
	if config.Alert == "" {
		d.journal.CannotNotify(unique)
		return
	}
	now := time.Now()
	a := report.Alert{From: config.From, To: config.Alert, Reporter: config.Reporter, Site: config.Site, Unique: unique, Now: now, Subject: subject, Text: text}
	var content bytes.Buffer
	err := a.Write(&content)
	if err == nil {
		q, reason := d.Queue()
		if err = reason; q != nil {
			e := envelope.Envelope{ID: unique, Sender: cmp.Or(config.Sender, config.From), Recipients: []envelope.Address{config.Alert}, Received: now, Report: true}
			err = d.enqueue(q, e, &content, int64(content.Len()))
		}
	}
	if err != nil {
		d.journal.SpoolFault(err)
		return
	}
	d.journal.Notified(unique, unique, "alert", config.Alert)
}
