package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/mdns"
	"sealpost/hal/linux/watchdog"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/relay/control"
	"sealpost/relay/spool"
)

const (
	// cures is how long a relay may be of no use before it is killed, givesUp
	// how long until the whole machine is restarted.
	cures   = 20 * time.Second
	givesUp = 2 * time.Minute
)

// startNetwork brings the port up and follows what becomes of it.
func (m *machine) startNetwork(ctx context.Context) {
	go m.keep(ctx, "network", m.network.Run)
	addresses := make(chan []netip.Prefix, 1)
	go func() {
		m.awaitServing()
		m.keep(ctx, "mDNS", func(ctx context.Context) error { return m.answerForName(ctx, addresses) })
	}()
	go func() {
		var last string
		// A port and its link take some seconds to come up, which is no fault.
		const comesUp = 5 * time.Second
		settled := time.After(comesUp)
		for {
			select {
			case <-ctx.Done():
				return
			case <-settled:
				settled = nil
			case <-m.network.Changes():
			}
			if settled == nil || m.network.Status().Trouble == "" {
				last = m.followNetwork(last, addresses)
			}
		}
	}()
}

// answerForName has the box found as its name in the domain local, while there
// is a network.
func (m *machine) answerForName(ctx context.Context, addresses <-chan []netip.Prefix) error {
	port := m.network.Status().Interface
	if port == "" {
		return nil
	}
	return mdns.Run(ctx, port, m.name, addresses)
}

// keep begins a part anew whenever it ends, as nobody could by hand, and records
// each new reason once.
func (m *machine) keep(ctx context.Context, part string, run func(context.Context) error) {
	const pause = 5 * time.Second
	var last string
	for ctx.Err() == nil {
		if err := run(ctx); err != nil && err.Error() != last {
			last = err.Error()
			m.try(part, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// name is what the box is called on the network.
func (m *machine) name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cmp.Or(m.hostname, string(settings.Default().Network.Name))
}

// followNetwork records a change, tells who goes by the addresses, and has the
// time servers of the new network asked.
func (m *machine) followNetwork(last string, follow chan []netip.Prefix) string {
	s := m.network.Status()
	var addresses []string
	for _, a := range s.Addresses {
		addresses = append(addresses, a.String())
	}
	now := fmt.Sprint(s.Method, addresses, s.Trouble)
	if now == last {
		return last
	}
	m.journal.Network(s.Method, addresses, s.Trouble)
	select {
	case <-follow: // the older list is of no use any more
	default:
	}
	follow <- s.Addresses
	select {
	case m.clockAt <- struct{}{}:
	default:
	}
	return now
}

// startCare starts what looks after the machine while it serves.
func (m *machine) startCare(ctx context.Context) {
	clockKeeper := &clock.Keeper{
		Past:    m.past(ctx),
		Servers: func() []string { return m.network.Status().NTP },
		Note:    m.notePast,
		Stepped: func(offset time.Duration, from string) {
			m.setDoubt("")
			m.journal.ClockStepped(offset, from)
		},
		Doubt: func(err error) {
			m.setDoubt(err.Error())
			m.journal.ClockDoubted(err)
		},
		Again: m.clockAt,
	}
	go clockKeeper.Run(ctx)
	go m.watch(ctx)
}

// watch feeds the watchdog while the box is of use.
func (m *machine) watch(ctx context.Context) {
	keeper := &watchdog.Keeper{
		Well:  m.well,
		Cures: cures,
		Cure: func(wrong error) {
			m.journal.Unwell(wrong, "the relay is killed")
			m.relay.Kill()
		},
		GivesUp: givesUp,
		GiveUp: func(wrong error) {
			m.journal.Unwell(wrong, "the box restarts")
			// The watchdog is for a machine that cannot do so itself any more.
			m.try("restart", kernel.Restart())
		},
	}
	if m.facts.Watchdog != "" {
		err := kernel.AwaitFile(m.facts.Watchdog, devicePatience)
		if err == nil {
			keeper.Device, err = watchdog.Open(m.facts.Watchdog)
		}
		m.try("watchdog", err)
	}
	keeper.Run(ctx)
}

// well says why the box is not of use; a box that was never set up cannot be.
func (m *machine) well(ctx context.Context) error {
	m.mu.Lock()
	serving := m.serving != nil
	m.mu.Unlock()
	var err error
	if serving {
		err = m.askRelay(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unwell = ""
	if err != nil {
		m.unwell = err.Error()
	}
	return err
}

// awaitServing keeps what mail can do without from slowing its start down.
func (m *machine) awaitServing() {
	const longest = 2 * time.Second
	m.mu.Lock()
	serving := m.serving != nil
	m.mu.Unlock()
	if !serving {
		return
	}
	select {
	case <-m.served:
	case <-time.After(longest):
	}
}

// awaitRelay records when a relay that was started greets its clients.
func (m *machine) awaitRelay(ctx context.Context) {
	const step = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, givesUp)
	defer cancel()
	for ctx.Err() == nil {
		m.mu.Lock()
		listeners := orDefault(m.settings).LAN.SMTP
		m.mu.Unlock()
		// Without a control socket there is nobody yet who could greet.
		if _, err := os.Stat(relaySocket); err == nil && greeted(ctx, listeners) == nil {
			m.journal.RelayServes(kernel.Uptime())
			m.firstServed.Do(func() { close(m.served) })
			return
		}
		time.Sleep(step)
	}
}

func (m *machine) askRelay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*healthPatience)
	defer cancel()
	answer, err := control.Do(ctx, relaySocket, "health", nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return err
}

// erase takes the state back to what it was before its first use.
func (m *machine) erase(ctx context.Context) error {
	if m.store == nil {
		return errNoState
	}
	ring, err := m.device.Region(state.AreaSize, m.device.Size()-state.AreaSize)
	if err != nil {
		return err
	}
	unlock, err := ring.Lock(ctx)
	if err != nil {
		return err
	}
	return errors.Join(m.store.Erase(ctx), spool.Erase(ring), unlock())
}
