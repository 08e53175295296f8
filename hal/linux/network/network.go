//go:build linux

// Package network runs the one Ethernet port of an appliance: its cable, its
// IPv4 address by DHCP, static or link-local (RFC 2131, RFC 3927), and the file
// that names its DNS servers. The kernel sets IPv6 addresses itself (SLAAC).
//
// It knows links, addresses, routes and leases. It must not know where the
// settings come from or what the network is used for. It changes the network
// of the namespace it runs in, so only the first process of a box runs it. Its
// [Subnets] and [WatchSubnets] change nothing, and any process may call them.
package network

import (
	"net/netip"
	"reflect"
	"sync"
	"time"
)

// Config is the network configuration in the settings. The zero value uses DHCP for
// everything.
type Config struct {
	Address  netip.Prefix // IPv4 address with the length of its subnet; zero: DHCP
	Gateway  netip.Addr   // used with Address only; zero: no default route
	DNS      []netip.Addr // empty: the lease's
	NTP      []string     // names or addresses; empty: the lease's (option 42)
	Hostname string       // sent to the DHCP server (option 12); empty: none
}

// Methods by which the port got its IPv4 address.
const (
	MethodDHCP      = "dhcp"
	MethodStatic    = "static"
	MethodLinkLocal = "link-local"
	MethodNone      = "none"
)

// Status is the current state of the network.
type Status struct {
	Interface  string // such as "eth0"; empty while the port is missing
	MAC        string
	Carrier    bool   // the cable is in and the other end is on
	Method     string // one of the methods
	Addresses  []netip.Prefix
	Gateway    netip.Addr
	DNS        []netip.Addr
	NTP        []string
	Server     netip.Addr // the DHCP server of the lease
	LeaseUntil time.Time  // by the current time of day; zero without a lease
	Trouble    string     // what is wrong and what to do about it; empty without a fault
}

// Options name the interface and the resolver's file.
type Options struct {
	Interface  string // empty: the first wired port
	ResolvConf string // the file written for the resolver, such as /etc/resolv.conf
}

// Manager runs the port. Its methods are safe for concurrent use.
type Manager struct {
	options Options
	applied chan struct{}
	changes chan struct{}

	mu        sync.Mutex
	config    Config
	port      port
	carrier   bool
	addresses []netip.Prefix
	state     state
}

// state is the part of the status that depends on the method.
type state struct {
	method  string
	gateway netip.Addr
	dns     []netip.Addr
	ntp     []string
	server  netip.Addr
	expires time.Time // with a monotonic reading: the clock may jump by decades
	trouble string
}

// New returns a manager that does nothing before [Manager.Run].
func New(options Options) *Manager {
	return &Manager{
		options: options,
		applied: make(chan struct{}, 1),
		changes: make(chan struct{}, 1),
		state:   state{method: MethodNone},
	}
}

// Apply applies new settings. Equal settings change nothing.
func (m *Manager) Apply(config Config) {
	m.mu.Lock()
	changed := !reflect.DeepEqual(m.config, config)
	m.config = config
	m.mu.Unlock()
	if changed {
		signal(m.applied)
	}
}

func (m *Manager) settings() Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config
}

// Changes delivers one value after one or more changes of the status. It is for
// one reader.
func (m *Manager) Changes() <-chan struct{} { return m.changes }

// Status returns the current state of the network.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	status := Status{
		Interface: m.port.name,
		MAC:       m.port.mac.String(),
		Carrier:   m.carrier,
		Method:    m.state.method,
		Addresses: m.addresses,
		Gateway:   m.state.gateway,
		DNS:       m.state.dns,
		NTP:       m.state.ntp,
		Server:    m.state.server,
		Trouble:   m.trouble(),
	}
	if !m.state.expires.IsZero() {
		status.LeaseUntil = time.Now().Add(time.Until(m.state.expires)).Round(0)
	}
	return status
}

func (m *Manager) trouble() string {
	switch {
	case m.port.index == 0:
		return "The Ethernet port was not found. Wait a minute; if this stays, switch the box off and on, then replace it."
	case !m.carrier:
		return "There is no link on " + m.port.name + ". Plug the network cable in at both ends and check that the switch is on."
	}
	return m.state.trouble
}

func (m *Manager) setState(s state) {
	m.update(func() { m.state = s })
}

// update makes a change, and signals it to the reader of Changes if the status
// differs afterwards.
func (m *Manager) update(change func()) {
	before := m.Status()
	m.mu.Lock()
	change()
	m.mu.Unlock()
	after := m.Status()
	before.LeaseUntil, after.LeaseUntil = time.Time{}, time.Time{}
	if !reflect.DeepEqual(before, after) {
		signal(m.changes)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
