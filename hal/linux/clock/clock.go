// Package clock sets the machine's clock from the servers that have the best
// evidence, and reports whether it is reliable.
//
// It knows NTP (RFC 5905), the date of an HTTPS response, and the kernel's clock. It
// must not know where the time is stored, or what waits for the clock.
//
// NTP without authentication can be forged by anybody on the LAN. A single
// response may therefore set the clock, but does not change the stored floor, and
// better evidence corrects it.
//
// The kernel's own flag (STA_UNSYNC, adjtimex(2)) shows whether the clock is right, so
// that any process can read it.
package clock

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstPause and longestPause limit the pauses until a time is found. After that
	// the servers are queried once per period.
	firstPause, longestPause = 2 * time.Second, 10 * time.Second
	period                   = time.Hour
	// storeInterval is the shortest time between two records.
	storeInterval = 24 * time.Hour
)

// Trusted reports whether the kernel's clock was set from a reliable source.
func Trusted() bool {
	var timex unix.Timex
	_, err := unix.Adjtimex(&timex)
	return err == nil && timex.Status&unix.STA_UNSYNC == 0
}

// Trust tells the kernel that its clock is synchronized. The kernel resets this after
// some hours.
func Trust() error {
	timex := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR}
	if _, err := unix.Adjtimex(&timex); err != nil {
		return fmt.Errorf("telling the kernel that its clock is right: %w", err)
	}
	return nil
}

// Set sets the clock.
func Set(t time.Time) error {
	now := unix.NsecToTimespec(t.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("setting the clock to %s: %w", t.UTC().Format(time.RFC3339), err)
	}
	return nil
}

// Config configures a Syncer.
type Config struct {
	Built  time.Time // when the program was built
	Stored Record    // of the last run
	// Servers returns the time servers of the site's network; if they give no time,
	// the public ones are queried.
	Servers func() []string
	// HTTPS returns the HTTPS servers to query for their date, and the authorities to
	// verify them by; no server means the public ones.
	HTTPS func() ([]string, *x509.CertPool)
	// Store stores the record. It is called at most once a day, because it
	// writes to flash.
	Store func(Record)
	// Stepped is called for each step of the clock, and Doubt once for each new
	// reason not to believe any server.
	Stepped func(offset time.Duration, servers string)
	Doubt   func(error)
	// QueryNow makes the Syncer query the servers at once, such as when the network is
	// up.
	QueryNow <-chan struct{}
}

// Syncer keeps the machine's clock synchronized. It is safe for concurrent use.
type Syncer struct {
	config Config
	start  time.Time // with the monotonic clock

	mu     sync.Mutex // held while the clock is judged and set, and not while servers are queried
	judge  *judge
	stored time.Time // when the record was stored; zero means not yet
	// trusted is set after the first step or confirmation, which is logged.
	trusted bool
}

// New returns a Syncer. If the clock is before the last known time, New sets it to that.
func New(c Config) *Syncer {
	k := &Syncer{config: c, start: time.Now(), judge: newJudge(c.Built, c.Stored)}
	first := k.judge.floor
	if c.Stored.Last.After(first) {
		first = c.Stored.Last
	}
	if time.Now().Before(first) {
		if err := Set(first); err != nil {
			c.Doubt(err)
		}
	}
	return k
}

// Run keeps the clock synchronized until ctx ends.
func (k *Syncer) Run(ctx context.Context) {
	var doubt string
	for pause := firstPause; ; {
		err := k.sync(ctx)
		switch {
		case err == nil:
			doubt, pause = "", period
		case Trusted():
			// The crystal keeps the clock accurate for longer than the kernel trusts it. This
			// includes a clock that was set by hand.
			_ = Trust()
			pause = max(pause, longestPause)
		default:
			pause = min(2*pause, longestPause)
		}
		if err != nil && err.Error() != doubt {
			doubt = err.Error()
			k.config.Doubt(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.config.QueryNow:
		case <-time.After(pause):
		}
	}
}

// sync queries the servers and sets the clock. Time servers respond sooner than HTTPS
// servers, and mail waits for the clock: a small step is made by their time alone, and
// is corrected by better evidence.
func (k *Syncer) sync(ctx context.Context) error {
	dates := make(chan []response, 1)
	go func() {
		hosts, roots := k.config.HTTPS()
		if len(hosts) == 0 {
			hosts = publicHTTPS
		}
		dates <- queryHTTPS(ctx, hosts, roots, k.start)
	}()
	siteServers := k.config.Servers()
	servers := queryNTP(ctx, siteServers, k.start)
	claim, err := majority(time.Since(k.start), servers)
	if err != nil {
		publicResponses := queryNTP(ctx, public, k.start)
		if claim, err = majority(time.Since(k.start), publicResponses); err == nil || len(siteServers) == 0 {
			servers = publicResponses
		}
	}
	if err == nil && (claim.evidence >= manyServers || k.step(claim).Abs() < farStep) {
		_ = k.adopt(servers, nil) // the next adopt returns the error, if it remains
	}
	return k.adopt(servers, <-dates)
}

// step is how far a claim would move the clock.
func (k *Syncer) step(c claim) time.Duration {
	return time.Until(c.start.Add(time.Since(k.start)))
}

// adopt sets the clock to the time that the judge decides on from the responses.
func (k *Syncer) adopt(servers, dates []response) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	believed, err := k.judge.decide(time.Since(k.start), servers, dates)
	if err != nil {
		return err
	}
	clock := time.Now()
	offset := believed.start.Add(clock.Sub(k.start)).Sub(clock)
	if offset.Abs() > believed.precision {
		if err := Set(time.Now().Add(offset)); err != nil {
			return err
		}
	}
	if err := Trust(); err != nil {
		return err
	}
	if !k.trusted || offset.Abs() > believed.precision && offset.Abs() > time.Second {
		k.trusted = true
		k.config.Stepped(offset, believed.from)
	}
	if k.stored.IsZero() || time.Since(k.stored) > storeInterval {
		k.store()
	}
	return nil
}

// Enter sets the time that a person entered.
func (k *Syncer) Enter(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.judge.enter(t, time.Since(k.start)); err != nil {
		return err
	}
	step := time.Until(t)
	if err := errors.Join(Set(t), Trust()); err != nil {
		return err
	}
	k.trusted = true
	k.config.Stepped(step, console)
	k.store()
	return nil
}

// store stores the record. The caller holds k.mu.
func (k *Syncer) store() {
	k.stored = time.Now()
	k.judge.advance(time.Since(k.start))
	k.config.Store(Record{Floor: k.judge.floor, Last: time.Now()})
}

// errNoServer is returned if no server responded.
var errNoServer = errors.New("no time server answers: name one that this network reaches in network.ntp, or set the clock on the console")
