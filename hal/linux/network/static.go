//go:build linux

package network

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// look is how often a static address and its gateway are looked at.
const look = 30 * time.Second

// static is the session with the settings' own address.
func (s *session) static(ctx context.Context) error {
	s.held.clear()
	if err := s.port.raise(); err != nil {
		return err
	}
	address, gateway := s.config.Address, s.config.Gateway
	if err := checkHost(address); err != nil {
		s.say(state{method: MethodNone, trouble: fmt.Sprintf("The address in the settings cannot be used, as %v. Correct it.", err)})
		return s.port.configure(netip.Prefix{})
	}
	now := state{method: MethodStatic, gateway: gateway}
	now.dns, now.ntp = s.names(nil, nil)
	var routes []route
	if gateway.IsValid() {
		if err := checkGateway(gateway, address); err != nil {
			now.gateway, now.trouble = netip.Addr{}, fmt.Sprintf("The gateway in the settings is unusable: %v. Correct the address, its length or the gateway.", err)
		} else {
			routes = []route{{to: everywhere, via: gateway}}
		}
	}
	if err := s.port.configure(address, routes...); err != nil {
		return err
	}
	if err := writeResolvConf(s.resolvConf, now.dns); err != nil {
		return err
	}
	s.say(now)
	return s.watch(ctx, now)
}

// watch says where another device has the static address, and where its
// gateway is silent.
func (s *session) watch(ctx context.Context, now state) error {
	lasting := now.trouble
	for {
		found, err := s.neighbours(ctx, now.gateway)
		if err != nil {
			return err
		}
		now.trouble = lasting
		if found != "" {
			now.trouble = found
		}
		s.say(now)
		if !sleep(ctx, look) {
			return nil
		}
	}
}

func (s *session) neighbours(ctx context.Context, gateway netip.Addr) (string, error) {
	own := s.config.Address.Addr()
	twin, err := s.port.owner(ctx, netip.IPv4Unspecified(), own)
	if err != nil {
		return "", err
	}
	if twin != nil {
		return fmt.Sprintf("Another device (%s) also has the address %s. Give one of the two another address.", twin, own), nil
	}
	switch {
	case s.config.Gateway.IsValid() && !gateway.IsValid():
		return "", nil
	case !gateway.IsValid():
		return "The settings name no gateway, so that the box does not reach the Internet. Add it.", nil
	case len(s.config.DNS) == 0:
		return "The settings name no DNS server beside the static address. Add at least one.", nil
	}
	answer, err := s.port.owner(ctx, own, gateway)
	if err != nil || answer != nil {
		return "", err
	}
	return fmt.Sprintf("The gateway %s does not answer. Check its address in the settings, that it is on, and that the cable leads to its network.", gateway), nil
}
