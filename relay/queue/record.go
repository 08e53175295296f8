package queue

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/spool"
)

// record is an envelope on flash. Field names are short, because every message
// has them.
type record struct {
	ID         string             `json:"id"`
	Client     netip.Addr         `json:"c"`
	Hello      string             `json:"h,omitempty"`
	Protocol   string             `json:"p,omitempty"`
	Sender     envelope.Address   `json:"f"`
	Recipients []envelope.Address `json:"t"`
	EightBit   bool               `json:"8,omitempty"`
	LongLines  bool               `json:"l,omitempty"`
	Received   int64              `json:"r"` // Unix time in ms; 0 if unknown
	Report     bool               `json:"n,omitempty"`
	DSN        dsnRecord          `json:"d,omitzero"`
	Route      string             `json:"w,omitempty"` // Progress.Route before the first note
}

// dsnRecord is an envelope.DSN on flash.
type dsnRecord struct {
	Return     envelope.Return   `json:"r,omitempty"`
	ID         string            `json:"i,omitempty"`
	Recipients []recipientRecord `json:"t,omitempty"`
}

// recipientRecord is an envelope.RecipientDSN on flash.
type recipientRecord struct {
	Notify   envelope.Notify `json:"n,omitempty"`
	Original string          `json:"o,omitempty"`
}

func recordOf(e envelope.Envelope) record {
	r := record{ID: e.ID, Client: e.Client, Hello: e.Hello, Protocol: e.Protocol, Sender: e.Sender, Recipients: e.Recipients,
		EightBit: e.EightBit, LongLines: e.LongLines, Report: e.Report, DSN: dsnRecord{Return: e.DSN.Return, ID: e.DSN.ID}}
	for _, p := range e.DSN.Recipients {
		r.DSN.Recipients = append(r.DSN.Recipients, recipientRecord(p))
	}
	if !e.Received.IsZero() {
		r.Received = e.Received.UnixMilli()
	}
	return r
}

func (r record) envelope(size int64) envelope.Envelope {
	e := envelope.Envelope{ID: r.ID, Client: r.Client, Hello: r.Hello, Protocol: r.Protocol, Sender: r.Sender,
		Recipients: r.Recipients, Size: size, EightBit: r.EightBit, LongLines: r.LongLines, Report: r.Report,
		DSN: envelope.DSN{Return: r.DSN.Return, ID: r.DSN.ID}}
	for i, p := range r.DSN.Recipients {
		e.DSN.Set(i, envelope.RecipientDSN(p))
	}
	if r.Received != 0 {
		e.Received = time.UnixMilli(r.Received)
	}
	return e
}

// Progress is the delivery state of a message.
type Progress struct {
	Attempts int       `json:"attempts,omitempty"` // that got a reply
	Next     time.Time `json:"next,omitzero"`      // no retry before this time
	Warned   bool      `json:"warned,omitempty"`   // its sender was notified of the delay
	Settled  Set       `json:"settled,omitempty"`  // recipients with a final outcome
	Failed   Set       `json:"failed,omitempty"`   // those of them that were given up
	Last     string    `json:"last,omitempty"`     // description of the last attempt
	// Route is the only route that may send the message, because its server may have
	// it without having replied; empty if any may.
	Route string `json:"route,omitempty"`
}

// Set is a set of recipients by index into the envelope, eight to a byte.
type Set []byte

// Add returns the set with i added.
func (s Set) Add(i int) Set {
	for len(s) <= i/8 {
		s = append(s, 0)
	}
	s[i/8] |= 1 << (i % 8)
	return s
}

// Has reports whether the set contains i.
func (s Set) Has(i int) bool { return i/8 < len(s) && s[i/8]&(1<<(i%8)) != 0 }

// MaxRecipients is the number of recipients whose Set still fits into a note.
const MaxRecipients = 16000

func (p Progress) encode() ([]byte, error) {
	const maxLast = 512
	if len(p.Last) > maxLast {
		p.Last = strings.ToValidUTF8(p.Last[:maxLast], "") + "…"
	}
	note, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the progress: %w", err)
	}
	if len(note) > spool.MaxNote && p.Last != "" {
		// The recipients matter more than the description.
		p.Last = ""
		return p.encode()
	}
	if len(note) > spool.MaxNote && len(p.Failed) > 0 {
		// It is only shown; Settled prevents duplicates.
		p.Failed = nil
		return p.encode()
	}
	if len(note) > spool.MaxNote {
		return nil, fmt.Errorf("progress of %d bytes: %w", len(note), spool.ErrTooLong)
	}
	return note, nil
}
