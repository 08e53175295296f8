// Package clock sets the machine's clock from time servers, and reports whether it
// can be trusted.
//
// It knows NTP (RFC 5905), the kernel's clock, and the last known time. It must not
// know where that time is stored, or what waits for the clock.
//
// Whether the clock is trusted is the kernel's own flag (STA_UNSYNC, adjtimex(2)),
// which any process can read.
package clock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sys/unix"
)

// public time servers, used if DHCP and the settings name none.
var public = []string{"time.windows.com", "time.cloudflare.com", "time.nist.gov"}

const (
	// queryTimeout limits one query to one server.
	queryTimeout = 5 * time.Second
	// maxServers is the maximum number of servers to query.
	maxServers = 8
	// firstPause and longestPause bound the pauses until a time is found, and
	// after that it is looked after once in each period.
	firstPause, longestPause = 2 * time.Second, 10 * time.Second
	period                   = time.Hour
	// noteEvery is how often the time is noted, at most.
	noteEvery = 24 * time.Hour
)

// answer is the response of a time server.
type answer struct {
	Server  string
	Address string        // of the server; two names with one address count as one server
	Offset  time.Duration // of the server's time from the machine's clock
	Err     error
}

// ask queries all servers at once.
func ask(servers []string) []answer {
	servers = servers[:min(len(servers), maxServers)]
	answers := make(chan answer, len(servers))
	for _, server := range servers {
		go func() { answers <- askOne(server) }()
	}
	var all []answer
	for range servers {
		all = append(all, <-answers)
	}
	return all
}

func askOne(server string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, server)
	if err != nil {
		return answer{Server: server, Err: err}
	}
	a := answer{Server: server, Address: addresses[0]}
	response, err := ntp.QueryWithOptions(a.Address, ntp.QueryOptions{Timeout: queryTimeout})
	if err == nil {
		err = response.Validate()
	}
	if err != nil {
		a.Err = err
		return a
	}
	a.Offset = response.ClockOffset
	return a
}

// Trusted reports whether the kernel's clock was set from a reliable source.
func Trusted() bool {
	var timex unix.Timex
	_, err := unix.Adjtimex(&timex)
	return err == nil && timex.Status&unix.STA_UNSYNC == 0
}

// Trust marks the kernel's clock as synchronized. The kernel clears the mark after
// some hours.
func Trust() error {
	timex := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR}
	if _, err := unix.Adjtimex(&timex); err != nil {
		return fmt.Errorf("marking the kernel's clock as synchronized: %w", err)
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

// Syncer synchronizes the machine's clock.
type Syncer struct {
	// Past is a time that is certainly past; the clock is never set before it.
	Past time.Time
	// Servers returns the servers of the site's network, the most trusted first; if
	// they fail, the public ones are queried.
	Servers func() []string
	// Note stores a time for the next start; it is called rarely, because it writes
	// to flash.
	Note func(time.Time)
	// Stepped reports each step of the clock, Doubt once each reason why no server
	// is trusted.
	Stepped func(offset time.Duration, servers string)
	Doubt   func(error)
	// Again triggers a query at once, for example when the network is up.
	Again <-chan struct{}
}

// Run synchronizes the clock until ctx ends.
func (k *Syncer) Run(ctx context.Context) {
	if time.Now().Before(k.Past) {
		if err := Set(k.Past); err != nil {
			k.Doubt(err)
		}
	}
	var noted time.Time
	var doubt string
	for pause, trusted := firstPause, false; ; {
		offset, from, err := k.find()
		if err == nil {
			err = k.adopt(offset, from, trusted)
		}
		switch {
		case err == nil:
			trusted, doubt, pause = true, "", period
			if time.Since(noted) > noteEvery {
				noted = time.Now()
				k.Note(noted)
			}
		case trusted || Trusted():
			// A crystal keeps its time for longer than a kernel trusts it, also one
			// that was set by hand.
			_ = Trust()
			pause = max(pause, longestPause)
		default:
			pause = min(2*pause, longestPause)
		}
		if err != nil && err.Error() != doubt {
			doubt = err.Error()
			k.Doubt(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.Again:
		case <-time.After(pause):
		}
	}
}

// find queries the site's servers, and the public ones if they fail.
func (k *Syncer) find() (time.Duration, string, error) {
	own := k.Servers()
	offset, from, err := selectOffset(time.Now(), k.Past, ask(own))
	if err == nil {
		return offset, from, nil
	}
	offset, from, otherErr := selectOffset(time.Now(), k.Past, ask(public))
	if otherErr == nil {
		return offset, from, nil
	}
	if len(own) == 0 {
		err = otherErr
	}
	return 0, "", err
}

// adopt sets the clock to a trusted time.
func (k *Syncer) adopt(offset time.Duration, from string, trusted bool) error {
	const negligible = 100 * time.Millisecond
	if offset.Abs() > negligible {
		if err := Set(time.Now().Add(offset)); err != nil {
			return err
		}
	}
	if err := Trust(); err != nil {
		return err
	}
	if now := time.Now(); now.After(k.Past) {
		k.Past = now
	}
	if !trusted || offset.Abs() > time.Second {
		k.Stepped(offset, from)
	}
	return nil
}

// errNoServer is returned if no server answered.
var errNoServer = errors.New("no time server answers: set one that is reachable from this network in network.ntp, or set the clock on the console")
