//go:build linux

package network

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// checkInterval is the time between two checks of a static address and its gateway.
const checkInterval = 30 * time.Second

// static is the session with a static address from the settings.
func (s *session) static(ctx context.Context) error {
	s.held.clear()
	if err := s.port.bringUp(); err != nil {
		return err
	}
	address, gateway := s.config.Address, s.config.Gateway
	if err := checkHost(address); err != nil {
		s.setState(state{method: MethodNone, trouble: fmt.Sprintf("The address in the settings cannot be used: %v. Correct it.", err)})
		return s.port.configure(netip.Prefix{})
	}
	now := state{method: MethodStatic, gateway: gateway}
	now.dns, now.ntp = s.names(nil, nil)
	var routes []route
	if gateway.IsValid() {
		if err := checkGateway(gateway, address); err != nil {
			now.gateway, now.trouble = netip.Addr{}, fmt.Sprintf("The gateway in the settings is unusable: %v. Correct the address, its length or the gateway.", err)
		} else {
			routes = []route{{to: anyDestination, via: gateway}}
		}
	}
	if err := s.port.configure(address, routes...); err != nil {
		return err
	}
	if err := writeResolvConf(s.resolvConf, now.dns); err != nil {
		return err
	}
	s.setState(now)
	return s.watch(ctx, now)
}

// watch reports another device with the same address, and a gateway that does not
// answer.
func (s *session) watch(ctx context.Context, now state) error {
	permanent := now.trouble
	for {
		found, err := s.neighbours(ctx, now.gateway)
		if err != nil {
			return err
		}
		now.trouble = permanent
		if found != "" {
			now.trouble = found
		}
		s.setState(now)
		if !sleep(ctx, checkInterval) {
			return nil
		}
	}
}

// neighbours returns what is wrong with the hosts that the box depends on; empty for
// nothing.
func (s *session) neighbours(ctx context.Context, gateway netip.Addr) (string, error) {
	own := s.config.Address.Addr()
	duplicate, err := s.port.owner(ctx, netip.IPv4Unspecified(), own)
	if err != nil {
		return "", err
	}
	if duplicate != nil {
		return fmt.Sprintf("Another device (%s) also has the address %s. Give one of the two another address.", duplicate, own), nil
	}
	switch {
	case s.config.Gateway.IsValid() && !gateway.IsValid():
		return "", nil
	case !gateway.IsValid():
		return "The settings name no gateway, so that the box does not reach the Internet. Add it.", nil
	case len(s.config.DNS) == 0:
		return "The settings name no DNS server beside the static address. Add at least one.", nil
	}
	mac, err := s.port.owner(ctx, own, gateway)
	if err != nil || mac != nil {
		return "", err
	}
	return fmt.Sprintf("The gateway %s does not answer. Check its address in the settings, that it is on, and that the cable leads to its network.", gateway), nil
}
