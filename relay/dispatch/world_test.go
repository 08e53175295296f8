package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal"
	"sealpost/hal/simflash"
	"sealpost/relay/body"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
	"sealpost/relay/upstream"
)

var (
	ok      = reply.New(250, 1, 5, "OK")
	taken   = reply.New(250, 6, 0, "Queued mail for delivery")
	unknown = reply.New(550, 1, 1, "User unknown")
	grey    = reply.New(451, 7, 1, "greylisted")
	denied  = reply.New(550, 7, 64, "TenantAttribution; Relay Access Denied")
	crowded = reply.New(432, 3, 2, "Concurrent connections limit exceeded")
	slowly  = reply.New(451, 7, 500, "Server busy")
	reached = reply.New(554, 2, 0, "STOREDRV.Submission.Exception:SubmissionQuotaExceededException")
)

// heard is a message as the far side got it.
type heard struct {
	at         time.Time
	envelope   envelope.Envelope
	content    string
	recipients []envelope.Address // who were answered 2yz
}

// farSide is an upstream that keeps what it is given.
type farSide struct {
	mu sync.Mutex
	behaviour
	messages []heard
	offers   []heard
	open     int
	mostOpen int
}

// behaviour is what a farSide does; what is nil or zero it does not.
type behaviour struct {
	answer func(e envelope.Envelope, to envelope.Address) reply.Reply // to RCPT
	final  func(e envelope.Envelope) reply.Reply                      // to the content
	down   func(e envelope.Envelope) error
	delay  func(e envelope.Envelope) time.Duration // before the content
	rate   int64                                   // octets a second; 0 is at once

	account func(e envelope.Envelope) string
	trustee string // whom the right to send as a sender is given
}

// be changes what the far side does from the next message on.
func (f *farSide) be(change func(*farSide)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *farSide) Account(e envelope.Envelope) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.account == nil {
		return ""
	}
	return f.account(e)
}

func (f *farSide) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, shouldSend func([]reply.Reply) bool) (upstream.Result, error) {
	b := f.enter(e)
	defer f.leave()
	if b.down != nil {
		if err := b.down(e); err != nil {
			return upstream.Result{}, err
		}
	}
	if b.delay != nil {
		if err := sleep(ctx, b.delay(e)); err != nil {
			return upstream.Result{}, err
		}
	}
	result := upstream.Result{Connection: journal.Connection{Host: "mx"}, Trustee: b.trustee}
	for _, to := range e.Recipients {
		result.Answers = append(result.Answers, b.say(e, to))
	}
	if !shouldSend(slices.Clone(result.Answers)) {
		return result, nil
	}
	text, err := b.read(ctx, content)
	if err != nil {
		return upstream.Result{}, &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "broke off", DuringTransaction: true, Err: err}
	}
	return f.finish(e, b, result, text), nil
}

func (b behaviour) say(e envelope.Envelope, to envelope.Address) reply.Reply {
	if b.answer != nil {
		if answer := b.answer(e, to); answer.Code != 0 {
			return answer
		}
	}
	return ok
}

func (f *farSide) finish(e envelope.Envelope, b behaviour, result upstream.Result, text string) upstream.Result {
	answer := taken
	if b.final != nil {
		if said := b.final(e); said.Code != 0 {
			answer = said
		}
	}
	h := heard{at: time.Now(), envelope: e, content: text}
	for i, said := range result.Answers {
		if said.Positive() {
			result.Answers[i] = answer
			h.recipients = append(h.recipients, e.Recipients[i])
		}
	}
	if result.Taken = answer.Positive(); result.Taken {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.messages = append(f.messages, h)
	}
	return result
}

// read takes the content at the far side's rate.
func (b behaviour) read(ctx context.Context, content envelope.Content) (string, error) {
	var text bytes.Buffer
	r, block := content.Open(), int64(256<<10)
	for {
		n, err := io.CopyN(&text, r, block)
		if b.rate > 0 && n > 0 {
			if err := sleep(ctx, time.Duration(n)*time.Second/time.Duration(b.rate)); err != nil {
				return "", err
			}
		}
		if errors.Is(err, io.EOF) {
			return text.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *farSide) enter(e envelope.Envelope) behaviour {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offers = append(f.offers, heard{at: time.Now(), envelope: e})
	f.open++
	f.mostOpen = max(f.mostOpen, f.open)
	return f.behaviour
}

func (f *farSide) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// got gives the messages that were taken so far.
func (f *farSide) got() []heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages)
}

func (f *farSide) offered() []heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.offers)
}

// unreachableHost is the error of an upstream that is not there.
func unreachableHost(envelope.Envelope) error {
	return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 1}, Reason: "cannot reach mx", Err: errors.New("secret detail")}
}

const day = 24 * time.Hour

// setup is what a dispatcher is made of.
type setup struct {
	Config
	Route
}

var usual = setup{
	Config{
		ClientWait: 5 * time.Second,
		Timeout:    10 * time.Minute,
	},
	Route{
		Limits: throttle.Limits{Connections: 4},
		Retry:  Retry{First: time.Minute, Longest: time.Hour, Age: 5 * day, Warning: 4 * time.Hour},
		Notify: Notify{Reporter: "relay.contoso.com", From: "mailer-daemon@contoso.com", Sender: "box@contoso.com", NullSender: true},
	},
}

// world is a dispatcher between clients and a far side, with its spool on
// simulated flash.
type world struct {
	t     *testing.T
	far   *farSide
	flash *simflash.Flash
	spool *spool.Spool
	log   *syncBuffer
	setup setup
	d     *Dispatcher
	count int

	poisoned bool // the flash has failed, and the spool cannot be closed well
}

type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// inWorld runs do where time passes only while everybody waits.
func inWorld(t *testing.T, change func(*setup), do func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, far: &farSide{}, flash: simflash.New(16<<20, 1), log: &syncBuffer{}, setup: usual}
		w.setup.Memory, w.setup.Upstream = body.NewBudget(64<<20), w.far
		if change != nil {
			change(&w.setup)
		}
		w.open()
		defer func() { w.close() }()
		do(w)
	})
}

var flashKey = bytes.Repeat([]byte{7}, spool.KeySize)

func (w *world) open() {
	w.t.Helper()
	opened, _, err := spool.Open(hal.Flash(w.flash), flashKey, spool.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.spool = opened
	w.start()
	w.d.SetQueue(queue.New(opened))
}

// start starts a dispatcher that has no queue yet.
func (w *world) start() {
	w.d = New(w.setup.Config, w.setup.Route, journal.New(journal.JSON(w.log, false)))
}

func (w *world) close() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := errors.Join(w.d.Close(ctx), w.spool.Close()); err != nil && !w.poisoned {
		w.t.Error(err)
	}
}

// restart ends the dispatcher and starts another on the same flash.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// send gives a message of a client and waits for the answer.
func (w *world) send(client int, size int, to ...envelope.Address) reply.Reply {
	w.t.Helper()
	w.count++
	return w.sendAs(fmt.Sprintf("M%d", w.count), client, size, to...)
}

func (w *world) sendAs(id string, client, size int, to ...envelope.Address) reply.Reply {
	if len(to) == 0 {
		to = []envelope.Address{"a@x.example"}
	}
	e := envelope.Envelope{ID: id, Client: netip.AddrFrom4([4]byte{10, 0, 0, byte(client)}), Sender: "printer@contoso.com",
		Recipients: to, Received: time.Now()}
	if answer := w.d.Admit(e, int64(size)); !answer.Positive() {
		return answer
	}
	in := w.d.Begin(e, int64(size))
	content := strings.NewReader("Subject: " + id + "\r\n\r\n" + strings.Repeat("x", size))
	n, err := io.Copy(in, content)
	if failure := (*reply.Error)(nil); errors.As(err, &failure) {
		in.Abandon()
		return failure.Reply
	}
	e.Size, e.Received = n, time.Now()
	return in.Accept(context.Background(), e)
}

// kept is how many messages lie in the spool.
func (w *world) kept() int { return w.spool.Stat().Messages }

// owners is of how many kept messages the account is known.
func (w *world) owners() int {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	return w.d.backlog.Assigned()
}

// events gives the journal's events of that name.
func (w *world) events(name string) []map[string]any {
	var events []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var event map[string]any
		if json.Unmarshal([]byte(line), &event) == nil && event["event"] == name {
			events = append(events, event)
		}
	}
	return events
}

// ids gives the names of messages in their order.
func ids(messages []heard) string {
	var names []string
	for _, m := range messages {
		names = append(names, m.envelope.ID)
	}
	return strings.Join(names, " ")
}
