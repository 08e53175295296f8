package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/envelope"
	"sealpost/relay/spool"
)

var key = bytes.Repeat([]byte{1}, spool.KeySize)

func open(t *testing.T, flash *simflash.Flash) (*Queue, *spool.Spool) {
	t.Helper()
	s, _, err := spool.Open(flash, key, spool.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return New(s), s
}

func put(t *testing.T, q *Queue, e envelope.Envelope, content string) Ticket {
	t.Helper()
	draft, err := q.Begin(e, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(draft, content); err != nil {
		t.Fatal(err)
	}
	ticket, err := draft.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func sample(id string) envelope.Envelope {
	return envelope.Envelope{ID: id, Client: netip.MustParseAddr("192.168.1.7"), Hello: "printer", Protocol: "ESMTPS",
		Sender: `"odd name"@contoso.com`, Recipients: []envelope.Address{"a@x.example", "b@[IPv6:::1]"}, EightBit: true, LongLines: true,
		Received: time.UnixMilli(1795300000123), Report: true,
		DSN: envelope.DSN{Return: envelope.ReturnFull, ID: "QQ314159", Recipients: []envelope.RecipientDSN{
			{}, {Notify: envelope.NotifyFailure | envelope.NotifyDelay, Original: "rfc822;b+2B@x.example"}}}}
}

func TestQueue_RestoresEnvelopesAndProgress(t *testing.T) {
	flash := simflash.New(16<<20, 1)
	q, s := open(t, flash)
	want := sample("ONE")
	ticket := put(t, q, want, "hello")
	want.Size = 5
	progress := Progress{Attempts: 3, Next: time.UnixMilli(1795300099000).UTC(), Warned: true, Settled: Set(nil).Add(1), Last: "451 busy"}
	if err := q.Save(ticket.ID, progress); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, p, err := q.Load(ticket.ID)
		if err != nil || !reflect.DeepEqual(e, want) {
			t.Errorf("got %+v, %v\nwant %+v", e, err, want)
		}
		if p.Next = p.Next.UTC(); !reflect.DeepEqual(p, progress) {
			t.Errorf("got %+v\nwant %+v", p, progress)
		}
		if text, err := io.ReadAll(q.Content(ticket.ID, e.Size).Open()); string(text) != "hello" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		q, s = open(t, flash)
	}
}

func TestRecord_HasDSNOnlyIfGiven(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want envelope.DSN
	}{
		"of 0.5.0": {`{"id":"ONE","c":"192.168.1.7","f":"a@contoso.com","t":["a@x.example"],"r":0}`, envelope.DSN{}},
		"of a message with ENVID": {`{"id":"ONE","c":"192.168.1.7","f":"a@contoso.com","t":["a@x.example"],"r":0,"d":{"i":"7"}}`,
			envelope.DSN{ID: "7"}},
		"of a recipient with NOTIFY": {`{"id":"ONE","c":"192.168.1.7","f":"a@contoso.com","t":["a@x.example","b@x.example"],"r":0,"d":{"t":[{},{"n":1}]}}`,
			envelope.DSN{Recipients: []envelope.RecipientDSN{{}, {Notify: envelope.NotifyNever}}}},
	} {
		var r record
		if err := json.Unmarshal([]byte(c.text), &r); err != nil {
			t.Fatal(err)
		}
		e := r.envelope(0)
		if !reflect.DeepEqual(e.DSN, c.want) {
			t.Errorf("a record %s: got %+v", name, e.DSN)
		}
		if text, err := json.Marshal(recordOf(e)); err != nil || string(text) != c.text {
			t.Errorf("a record %s: got %s, %v", name, text, err)
		}
	}
}

func TestTickets_AreOrderedAndIdentifyClients(t *testing.T) {
	q, _ := open(t, simflash.New(16<<20, 1))
	for i := range 5 {
		e := sample(fmt.Sprint("M", i))
		e.Client = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 2)})
		put(t, q, e, "x")
	}
	var last ID
	clients := map[uint64]int{}
	for ticket := range q.Tickets() {
		if ticket.ID <= last || ticket.Size != 1 {
			t.Errorf("got ticket %+v after %d", ticket, last)
		}
		last = ticket.ID
		clients[ticket.Client]++
	}
	if len(clients) != 2 || clients[ClientOf(netip.MustParseAddr("::ffff:10.0.0.0"))] != 3 {
		t.Errorf("got clients %v", clients)
	}
}

func TestFind_ReturnsPendingAndSettledRecipients(t *testing.T) {
	q, _ := open(t, simflash.New(16<<20, 1))
	put(t, q, sample("ONE"), "x")
	ticket := put(t, q, sample("TWO"), "y")
	if err := q.Save(ticket.ID, Progress{Settled: Set(nil).Add(0)}); err != nil {
		t.Fatal(err)
	}
	item, err := q.Find("TWO")
	if err != nil || item.Number != ticket.ID || item.Client != "192.168.1.7" || len(item.Recipients) != 1 || item.Settled[0] != "a@x.example" {
		t.Errorf("got %+v, %v", item, err)
	}
	if err := q.Remove(ticket.ID); err != nil {
		t.Error(err)
	}
	if _, err := q.Find("TWO"); !errors.Is(err, spool.ErrNotFound) || !strings.HasPrefix(err.Error(), "TWO: ") {
		t.Errorf("got %v", err)
	}
	if _, _, err := q.Load(ticket.ID); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(q.Content(ticket.ID, 1).Open()); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestDraft_LeavesNothingWhenAborted(t *testing.T) {
	q, s := open(t, simflash.New(16<<20, 1))
	draft, err := q.Begin(sample("ONE"), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(draft, strings.Repeat("x", 100_000)); err != nil {
		t.Fatal(err)
	}
	draft.Abort()
	if n := s.Stat().Messages; n != 0 {
		t.Errorf("got %d messages, want 0", n)
	}
}

func TestProgress_FitsANoteWithMaxRecipients(t *testing.T) {
	var all Set
	for i := range MaxRecipients {
		all = all.Add(i)
	}
	for _, text := range []string{`"`, "<", "\x01"} {
		note, err := Progress{Attempts: 1 << 20, Next: time.Now(), Warned: true, Settled: all, Last: strings.Repeat(text, 5000)}.encode()
		if err != nil || len(note) > spool.MaxNote {
			t.Errorf("%q: got %d bytes, %v", text, len(note), err)
		}
	}
	if _, err := (Progress{Settled: make(Set, spool.MaxNote)}).encode(); !errors.Is(err, spool.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestSet_ContainsOnlyAddedRecipients(t *testing.T) {
	var s Set
	for i := range 500 {
		if i%3 == 0 {
			s = s.Add(i)
		}
	}
	for i := range 1000 {
		if s.Has(i) != (i < 500 && i%3 == 0) {
			t.Errorf("Has(%d): got %v", i, s.Has(i))
		}
	}
}
