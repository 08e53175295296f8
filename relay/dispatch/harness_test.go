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
	senderOK           = reply.New(250, 1, 0, "OK")
	rcptOK             = reply.New(250, 1, 5, "OK")
	queuedOK           = reply.New(250, 6, 0, "Queued mail for delivery")
	userUnknown        = reply.New(550, 1, 1, "User unknown")
	greylisted         = reply.New(451, 7, 1, "greylisted")
	relayDenied        = reply.New(550, 7, 64, "TenantAttribution; Relay Access Denied")
	tooManyConnections = reply.New(432, 3, 2, "Concurrent connections limit exceeded")
	serverBusy         = reply.New(451, 7, 500, "Server busy")
	quotaExceeded      = reply.New(554, 2, 0, "STOREDRV.Submission.Exception:SubmissionQuotaExceededException")
)

// transaction is one mail transaction as the upstream saw it.
type transaction struct {
	at         time.Time
	envelope   envelope.Envelope
	content    string
	recipients []envelope.Address // accepted with 2yz
}

// fakeUpstream is an Upstream that records the messages it accepts.
type fakeUpstream struct {
	mu sync.Mutex
	behaviour
	acceptedMail []transaction
	offers       []transaction
	open         int
	mostOpen     int
}

// behaviour configures a fakeUpstream; nil and zero fields have no effect.
type behaviour struct {
	mailReply func(e envelope.Envelope) reply.Reply                      // reply to MAIL
	rcptReply func(e envelope.Envelope, to envelope.Address) reply.Reply // reply to RCPT
	dataReply func(e envelope.Envelope) reply.Reply                      // reply to the content
	fail      func(e envelope.Envelope) error
	delay     func(e envelope.Envelope) time.Duration // before RCPT
	rate      int64                                   // octets per second; 0 = unlimited

	account func(e envelope.Envelope) string
	trustee string // who would need Send As permission

	offersDSN bool

	// byDomain makes one transaction for each domain of recipients, in their order;
	// unanswered reports whether the reply to the content of a transaction does not come.
	byDomain   bool
	unanswered func(e envelope.Envelope, domain string) (accepted, unanswered bool)
}

// set changes the behaviour from the next message on.
func (f *fakeUpstream) set(change func(*fakeUpstream)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeUpstream) Account(e envelope.Envelope) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.account == nil {
		return ""
	}
	return f.account(e)
}

func (f *fakeUpstream) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	b := f.enter(e)
	defer f.leave()
	if b.fail != nil {
		if err := b.fail(e); err != nil {
			return upstream.Result{}, err
		}
	}
	if b.delay != nil {
		if err := sleep(ctx, b.delay(e)); err != nil {
			return upstream.Result{}, err
		}
	}
	if b.byDomain {
		return f.deliverByDomain(ctx, b, e, content, tx)
	}
	result := upstream.Result{Connection: journal.Connection{Host: "mx"}, Trustee: b.trustee, DSN: b.offersDSN}
	result.Mail = b.mail(e)
	for _, to := range e.Recipients {
		if result.Mail.Positive() {
			result.Replies = append(result.Replies, b.rcpt(e, to))
		} else {
			result.Replies = append(result.Replies, result.Mail)
		}
	}
	if !tx.ShouldSend(slices.Clone(result.Replies)) {
		return result, nil
	}
	text, err := b.read(ctx, content)
	if err != nil {
		return upstream.Result{}, &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "connection lost", DuringTransaction: true, Err: err}
	}
	if b.unanswered != nil {
		if taken, unanswered := b.unanswered(e, ""); unanswered {
			if taken {
				f.data(e, b, result, text)
			}
			return upstream.Result{}, noReply()
		}
	}
	return f.data(e, b, result, text), nil
}

// noReply is the error of content that got no reply.
func noReply() error {
	return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "no reply to the content",
		DuringTransaction: true, Unanswered: true, Err: errors.New("connection lost")}
}

func (b behaviour) mail(e envelope.Envelope) reply.Reply {
	if b.mailReply != nil {
		if r := b.mailReply(e); r.Code != 0 {
			return r
		}
	}
	return senderOK
}

func (b behaviour) rcpt(e envelope.Envelope, to envelope.Address) reply.Reply {
	if b.rcptReply != nil {
		if r := b.rcptReply(e, to); r.Code != 0 {
			return r
		}
	}
	return rcptOK
}

func (f *fakeUpstream) data(e envelope.Envelope, b behaviour, result upstream.Result, text string) upstream.Result {
	r := queuedOK
	if b.dataReply != nil {
		if scripted := b.dataReply(e); scripted.Code != 0 {
			r = scripted
		}
	}
	h := transaction{at: time.Now(), envelope: e, content: text}
	for i, rcptReply := range result.Replies {
		if rcptReply.Positive() {
			result.Replies[i] = r
			h.recipients = append(h.recipients, e.Recipients[i])
		}
	}
	if result.Accepted = r.Positive(); result.Accepted {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.acceptedMail = append(f.acceptedMail, h)
	}
	return result
}

// read reads the content at the configured rate.
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

func (f *fakeUpstream) enter(e envelope.Envelope) behaviour {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offers = append(f.offers, transaction{at: time.Now(), envelope: e})
	f.open++
	f.mostOpen = max(f.mostOpen, f.open)
	return f.behaviour
}

func (f *fakeUpstream) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// accepted returns the messages accepted so far.
func (f *fakeUpstream) accepted() []transaction {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acceptedMail)
}

func (f *fakeUpstream) offered() []transaction {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.offers)
}

// unreachableHost is the error of a host that cannot be reached.
func unreachableHost(envelope.Envelope) error {
	return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 1}, Reason: "cannot reach mx", Err: errors.New("secret detail")}
}

const day = 24 * time.Hour

// setup is the configuration of a dispatcher.
type setup struct {
	Config
	Route
	others []Route // after Route
}

var defaultSetup = setup{
	Config: Config{
		ClientWait: 5 * time.Second,
		Timeout:    10 * time.Minute,
	},
	Route: Route{
		Limits: throttle.Limits{Connections: 4},
		Retry:  Retry{First: time.Minute, Longest: time.Hour, Age: 5 * day, Warning: 4 * time.Hour},
		Notify: Notify{Reporter: "relay.contoso.com", From: "mailer-daemon@contoso.com", Sender: "box@contoso.com", NullSender: true},
	},
}

// harness is a dispatcher between clients and a fake upstream, with its spool
// on simulated flash.
type harness struct {
	t        *testing.T
	upstream *fakeUpstream
	flash    *simflash.Flash
	spool    *spool.Spool
	log      *syncBuffer
	setup    setup
	d        *Dispatcher
	count    int

	poisoned bool // the flash has failed, so closing the spool fails too
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

// withHarness runs do in a synctest bubble, where time advances only while
// every goroutine waits.
func withHarness(t *testing.T, change func(*setup), do func(w *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &harness{t: t, upstream: &fakeUpstream{}, flash: simflash.New(16<<20, 1), log: &syncBuffer{}, setup: defaultSetup}
		w.setup.Memory, w.setup.Upstream = body.NewBudget(64<<20), w.upstream
		if change != nil {
			change(&w.setup)
		}
		w.open()
		defer func() { w.close() }()
		do(w)
	})
}

var flashKey = bytes.Repeat([]byte{7}, spool.KeySize)

func (w *harness) open() {
	w.t.Helper()
	opened, _, err := spool.Open(hal.Flash(w.flash), flashKey, spool.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.spool = opened
	w.start()
	w.d.SetQueue(queue.New(opened))
}

// routes returns the route of setup, and those after it.
func (w *harness) routes() []Route { return append([]Route{w.setup.Route}, w.setup.others...) }

// start starts a dispatcher without a queue.
func (w *harness) start() {
	w.d = New(w.setup.Config, w.routes(), journal.New(journal.JSON(w.log, false)))
}

func (w *harness) close() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := errors.Join(w.d.Close(ctx), w.spool.Close()); err != nil && !w.poisoned {
		w.t.Error(err)
	}
}

// restart replaces the dispatcher by another on the same flash.
func (w *harness) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// send sends a client's message and returns the reply.
func (w *harness) send(client int, size int, to ...envelope.Address) reply.Reply {
	w.t.Helper()
	w.count++
	return w.sendAs(fmt.Sprintf("M%d", w.count), client, size, to...)
}

func (w *harness) sendAs(id string, client, size int, to ...envelope.Address) reply.Reply {
	return w.sendFrom("printer@contoso.com", id, client, size, to...)
}

func (w *harness) sendFrom(sender envelope.Address, id string, client, size int, to ...envelope.Address) reply.Reply {
	if len(to) == 0 {
		to = []envelope.Address{"a@x.example"}
	}
	e := envelope.Envelope{ID: id, Client: netip.AddrFrom4([4]byte{10, 0, 0, byte(client)}), Sender: sender,
		Recipients: to, Received: time.Now()}
	if r := w.d.Admit(e, int64(size)); !r.Positive() {
		return r
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

// queued returns how many messages are in the spool.
func (w *harness) queued() int { return w.spool.Stat().Messages }

// assigned returns how many queued messages have a known account.
func (w *harness) assigned() int {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	return w.d.backlog.Assigned()
}

// events returns the journal's events of that name.
func (w *harness) events(name string) []map[string]any {
	var events []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var event map[string]any
		if json.Unmarshal([]byte(line), &event) == nil && event["event"] == name {
			events = append(events, event)
		}
	}
	return events
}

// ids returns the message IDs in order.
func ids(messages []transaction) string {
	var names []string
	for _, m := range messages {
		names = append(names, m.envelope.ID)
	}
	return strings.Join(names, " ")
}
