//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// retryDelay is the delay after the kernel rejected a change, such as an address.
const retryDelay = 10 * time.Second

// Run keeps the port configured by the settings until ctx ends, and then returns nil.
// The addresses stay. It fails if the kernel does not report changes of links.
func (m *Manager) Run(ctx context.Context) error {
	kernel, err := listen()
	if err != nil {
		return err
	}
	defer kernel.close()
	if err := bringUp("lo"); err != nil {
		return err
	}

	signal(m.changes) // for a reader that waits for the first status
	r := runner{manager: m}
	defer r.stop()
	for {
		if err := r.follow(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-kernel.links:
			if !ok {
				return errors.New("the kernel's reports on links ended")
			}
		case _, ok := <-kernel.addresses:
			if !ok {
				return errors.New("the kernel's reports on addresses ended")
			}
		case <-m.applied:
		case err := <-r.ended:
			r.stop()
			m.setState(state{method: MethodNone, trouble: fmt.Sprintf("The network cannot be set up: %v. It is tried again in %v; correct the network settings, or restart the box.", err, retryDelay)})
			r.retry = time.After(retryDelay)
		case <-r.retry:
			r.retry = nil
		}
	}
}

// runner runs one session as long as the port, the link and the settings stay the
// same.
type runner struct {
	manager *Manager
	held    *held // kept from one session to the next
	port    port
	cable   cable
	config  Config
	cancel  context.CancelFunc // nil while no session runs
	done    chan struct{}
	ended   chan error
	retry   <-chan time.Time
}

// follow reads the port, the link and the settings, and starts a new session if
// they differ from those of the running one.
func (r *runner) follow(ctx context.Context) error {
	found, cable, err := find(r.manager.options.Interface)
	if err != nil {
		return err
	}
	var addresses []netip.Prefix
	if found.index != 0 {
		if addresses, err = found.addresses(); err != nil {
			return err
		}
	}
	config := r.manager.settings()
	if found.index != r.port.index || found.name != r.port.name || cable != r.cable || !reflect.DeepEqual(config, r.config) {
		r.stop()
	}
	if found.index != r.port.index {
		r.held = &held{}
		r.manager.setState(state{method: MethodNone})
	}
	r.port, r.cable, r.config = found, cable, config
	r.manager.update(func() {
		r.manager.port, r.manager.carrier, r.manager.addresses = found, cable.in, addresses
	})
	if r.cancel == nil && r.retry == nil && found.index != 0 {
		r.start(ctx)
	}
	return nil
}

func (r *runner) start(ctx context.Context) {
	s := &session{port: r.port, config: r.config, resolvConf: r.manager.options.ResolvConf, setState: r.manager.setState, held: r.held}
	method := s.lease
	switch {
	case !r.cable.in:
		method = s.noLink
	case r.config.Address.IsValid():
		method = s.static
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.done, r.ended = make(chan struct{}), make(chan error, 1)
	go func(done chan struct{}, ended chan error) {
		defer close(done)
		if err := method(ctx); err != nil && ctx.Err() == nil {
			ended <- err
		}
	}(r.done, r.ended)
}

// stop ends the session and waits until it has ended.
func (r *runner) stop() {
	r.retry = nil
	if r.cancel != nil {
		r.cancel()
		<-r.done
		r.cancel, r.ended = nil, nil
	}
}

// session is the state of a method while the port, the link and the settings stay
// the same.
type session struct {
	port       port
	config     Config
	resolvConf string
	setState   func(state)
	held       *held
}

// noLink is the session without a link: it brings the port up, so that the link can
// be detected, and drops a lease when it expires.
func (s *session) noLink(ctx context.Context) error {
	if err := s.port.bringUp(); err != nil {
		return err
	}
	if s.config.Address.IsValid() || s.held.inForce() && !sleep(ctx, time.Until(s.held.expires)) {
		return nil
	}
	return s.drop()
}

// names returns the DNS and NTP servers in force: the settings', or the lease's.
func (s *session) names(dns []netip.Addr, ntp []string) ([]netip.Addr, []string) {
	if len(s.config.DNS) > 0 {
		dns = s.config.DNS
	}
	if len(s.config.NTP) > 0 {
		ntp = s.config.NTP
	}
	return slices.Clone(dns), slices.Clone(ntp)
}

// sleep waits and reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// kernel is a subscription to the kernel's changes of links and addresses.
type kernel struct {
	done      chan struct{}
	links     chan netlink.LinkUpdate
	addresses chan netlink.AddrUpdate
}

func listen() (*kernel, error) {
	k := &kernel{done: make(chan struct{}), links: make(chan netlink.LinkUpdate), addresses: make(chan netlink.AddrUpdate)}
	if err := netlink.LinkSubscribe(k.links, k.done); err != nil {
		return nil, fmt.Errorf("subscribing to the kernel's link changes: %w", err)
	}
	if err := netlink.AddrSubscribe(k.addresses, k.done); err != nil {
		close(k.done)
		return nil, fmt.Errorf("subscribing to the kernel's address changes: %w", err)
	}
	return k, nil
}

// close ends the subscription and waits for its end.
func (k *kernel) close() {
	close(k.done)
	for range k.links {
	}
	for range k.addresses {
	}
}
