//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Times of the exchange with a server. Three attempts with growing timeouts make
// about ten seconds.
const (
	attempts        = 3
	firstTimeout    = 1500 * time.Millisecond // for the first attempt, doubled for each next
	confirmAttempts = 2                       // to confirm a former lease
	firstPause      = 2 * time.Second         // between exchanges that failed, doubled each time
	maxPause        = 60 * time.Second
)

var (
	errNoReply = errors.New("no DHCP server answers")
	errNak     = errors.New("the DHCP server refuses the box its former address")
)

// held is the current lease, with its times on the monotonic clock.
type held struct {
	lease
	renewAt, rebindAt, expires time.Time
}

func (h *held) inForce() bool { return time.Now().Before(h.expires) }

// renewing reports whether T2 is still ahead.
func (h *held) renewing() bool { return time.Now().Before(h.rebindAt) }

// stageEnds returns T2 or, after it, the end of the lease.
func (h *held) stageEnds() time.Time {
	if h.renewing() {
		return h.rebindAt
	}
	return h.expires
}

func (h *held) set(l lease) {
	now := time.Now()
	*h = held{lease: l, renewAt: now.Add(l.renew), rebindAt: now.Add(l.rebind), expires: now.Add(l.lifetime)}
}

func (h *held) clear() { *h = held{} }

// lease is the session by DHCP (RFC 2131, section 4.4).
func (s *session) lease(ctx context.Context) error {
	if err := s.port.bringUp(); err != nil {
		return err
	}
	if s.held.inForce() {
		if err := s.confirm(ctx); err != nil {
			return err
		}
	} else if err := s.drop(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		step := s.renew
		if !s.held.inForce() {
			step = s.acquire
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// confirm requests the lease from before the link was lost (INIT-REBOOT). If no
// server answers, the lease is kept if its gateway answers, which shows that this
// is the same network (RFC 4436).
func (s *session) confirm(ctx context.Context) error {
	request, err := s.message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(s.held.address.Addr().AsSlice())))
	if err != nil {
		return err
	}
	granted, err := s.exchange(ctx, request, dhcpv4.MessageTypeAck, nclient4.WithRetry(confirmAttempts))
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return s.bind(granted)
	case !errors.Is(err, errNoReply):
		return s.drop()
	}
	if s.held.gateway.IsValid() {
		gateway, err := s.port.owner(ctx, s.held.address.Addr(), s.held.gateway)
		if err != nil {
			return err
		}
		if gateway != nil {
			s.held.renewAt = time.Now()
			s.publish(s.notRenewed(errNoReply))
			return nil
		}
	}
	return s.drop()
}

// acquire requests a lease until a server grants one. After the first failure the box
// uses a link-local address until then.
func (s *session) acquire(ctx context.Context) error {
	now := state{method: MethodNone}
	now.dns, now.ntp = s.names(nil, nil)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		granted, err := s.discover(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			return s.bind(granted)
		}
		if now.method == MethodNone {
			linkLocal, err := s.linkLocal(ctx)
			if err != nil {
				return err
			}
			if linkLocal.IsValid() {
				now.method = MethodLinkLocal
			}
		}
		now.trouble = noLease(s.port.name, err)
		s.setState(now)
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

func noLease(port string, err error) string {
	if errors.Is(err, errNoReply) {
		return "No DHCP server answers on " + port + ", so that the box has only a link-local address. Check that the cable leads to the right network and that its DHCP server is on and has free addresses, or set a static address."
	}
	return fmt.Sprintf("There is no address by DHCP: %v. Or set a static address.", err)
}

func (s *session) discover(ctx context.Context) (lease, error) {
	discover, err := s.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return lease{}, err
	}
	offer, err := s.exchange(ctx, discover, dhcpv4.MessageTypeOffer, nclient4.WithRetry(attempts))
	if err != nil {
		return lease{}, err
	}
	request, err := s.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithTransactionID(discover.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.address.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.server.AsSlice())))
	if err != nil {
		return lease{}, err
	}
	return s.exchange(ctx, request, dhcpv4.MessageTypeAck, nclient4.WithRetry(attempts))
}

// renew renews the lease until it is lost or ctx ends.
func (s *session) renew(ctx context.Context) error {
	for sleep(ctx, time.Until(s.held.renewAt)) {
		granted, err := s.extend(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return s.bind(granted)
		case errors.Is(err, errNak) || !s.held.inForce():
			return s.drop()
		}
		s.publish(s.notRenewed(err))
		pause := min(time.Until(s.held.stageEnds())/2, maxPause)
		s.held.renewAt = time.Now().Add(max(pause, time.Second))
	}
	return nil
}

func (s *session) notRenewed(err error) string {
	return fmt.Sprintf("The DHCP server %s does not renew the address %s: %v. Check that the server is on, or set a static address.", s.held.server, s.held.address.Addr(), err)
}

// extend asks the lease's own server up to T2 (RENEWING), then every server
// (REBINDING), and no longer than the lease lasts.
func (s *session) extend(ctx context.Context) (lease, error) {
	ctx, cancel := context.WithDeadline(ctx, s.held.stageEnds())
	defer cancel()
	leased := s.held.address.Addr().AsSlice()
	request, err := s.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(leased))
	if err != nil {
		return lease{}, err
	}
	options := []nclient4.ClientOpt{nclient4.WithRetry(attempts)}
	if s.held.renewing() {
		options = append(options,
			nclient4.WithUnicast(&net.UDPAddr{IP: leased, Port: nclient4.ClientPort}),
			nclient4.WithServerAddr(&net.UDPAddr{IP: s.held.server.AsSlice(), Port: nclient4.ServerPort}))
	}
	return s.exchange(ctx, request, dhcpv4.MessageTypeAck, options...)
}

// message returns a message to a server, with the options that every message has.
func (s *session) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(s.port.mac),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionNTPServers, dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue),
	}
	if s.config.Hostname != "" {
		modifiers = append(modifiers, dhcpv4.WithOption(dhcpv4.OptHostName(s.config.Hostname)))
	}
	message, err := dhcpv4.New(append(modifiers, more...)...)
	if err != nil {
		return nil, fmt.Errorf("encoding a DHCP message: %w", err)
	}
	return message, nil
}

// exchange sends a message and returns the lease in the first reply of that
// type. The socket receives all traffic of the port, so it is open only meanwhile.
func (s *session) exchange(ctx context.Context, message *dhcpv4.DHCPv4, messageType dhcpv4.MessageType, options ...nclient4.ClientOpt) (lease, error) {
	options = append([]nclient4.ClientOpt{nclient4.WithTimeout(firstTimeout), nclient4.WithHWAddr(s.port.mac)}, options...)
	client, err := nclient4.New(s.port.name, options...)
	if err != nil {
		return lease{}, fmt.Errorf("opening a socket for DHCP: %w", err)
	}
	defer client.Close()

	var granted lease
	failure := errNoReply
	_, err = client.SendAndRead(ctx, client.RemoteAddr(), message, func(reply *dhcpv4.DHCPv4) bool {
		chosen := message.ServerIdentifier()
		switch {
		case chosen != nil && !chosen.Equal(reply.ServerIdentifier()):
			return false
		case reply.MessageType() == messageType:
			granted, failure = readLease(reply)
			return failure == nil
		case reply.MessageType() == dhcpv4.MessageTypeNak && messageType == dhcpv4.MessageTypeAck:
			failure = errNak
			return true
		}
		return false
	})
	if err == nil || errors.Is(err, nclient4.ErrNoResponse) {
		return granted, failure
	}
	return lease{}, fmt.Errorf("%w: %v", errNoReply, err)
}

// bind applies a granted lease.
func (s *session) bind(granted lease) error {
	s.held.set(granted)
	if err := s.port.configure(granted.address, granted.routes...); err != nil {
		return err
	}
	dns, _ := s.names(granted.dns, nil)
	if err := writeResolvConf(s.resolvConf, dns); err != nil {
		return err
	}
	trouble := granted.warning
	if trouble == "" && len(dns) == 0 {
		trouble = fmt.Sprintf("The DHCP server %s names no DNS server. Add it there (option 6), or set one in the settings.", granted.server)
	}
	s.publish(trouble)
	return nil
}

// publish sets the status to the current lease.
func (s *session) publish(trouble string) {
	now := state{method: MethodDHCP, gateway: s.held.gateway, server: s.held.server, expires: s.held.expires, trouble: trouble}
	now.dns, now.ntp = s.names(s.held.dns, s.held.ntp)
	s.setState(now)
}

// drop releases the lease and removes its address.
func (s *session) drop() error {
	s.held.clear()
	if err := s.port.configure(netip.Prefix{}); err != nil {
		return err
	}
	now := state{method: MethodNone}
	now.dns, now.ntp = s.names(nil, nil)
	s.setState(now)
	return writeResolvConf(s.resolvConf, now.dns)
}
