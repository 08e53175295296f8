package server

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/control"
	"sealpost/relay/device"
	"sealpost/relay/policy"
)

// Periods of the devices: how often they are checked for silence, and how often they are
// stored, which wears the flash.
const silencePeriod, storePeriod = 10 * time.Second, 6 * time.Hour

// maxLearnTime is how long learn mode may last.
const maxLearnTime = 2 * time.Hour

// learnMode is learn mode: networks are open until a time.
type learnMode struct {
	mu       sync.Mutex // guards the rest; the policy's lock is taken under it
	networks []netip.Prefix
	until    time.Time
}

// Devices implements [control.Relay].
func (s *Server) Devices(context.Context) iter.Seq2[control.Device, error] {
	return func(yield func(control.Device, error) bool) {
		for _, d := range s.devices.List() {
			if !yield(s.describe(d), nil) {
				return
			}
		}
	}
}

// describe adds what the policy says of a device.
func (s *Server) describe(d device.Device) control.Device {
	client := policy.Client{Address: d.Address, MAC: d.MAC}
	access := s.policy.Access(client)
	return control.Device{Device: d, Name: access.Device.Name, Allowed: access.Allowed || access.Login, Rule: access.Rule,
		Learned: access.Rule == policy.RuleLearning, Listed: strings.HasPrefix(access.Rule, "device ")}
}

// LearnMode implements [control.Relay].
func (s *Server) LearnMode(context.Context) (control.LearnMode, error) {
	s.learning.mu.Lock()
	defer s.learning.mu.Unlock()
	return s.learning.mode(), nil
}

// mode returns learn mode as it is now. The caller holds mu.
func (l *learnMode) mode() control.LearnMode {
	left := time.Until(l.until).Round(time.Second)
	if left <= 0 {
		return control.LearnMode{}
	}
	return control.LearnMode{Networks: l.networks, For: left}
}

// Learn implements [control.Relay].
func (s *Server) Learn(_ context.Context, q control.LearnMode) (control.LearnMode, error) {
	l := &s.learning
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case q.For < 0, q.For > maxLearnTime:
		return control.LearnMode{}, fault.New(fault.LearnTime, fmt.Sprintf("learn mode lasts up to %d hours", int(maxLearnTime.Hours())))
	case q.For == 0:
		s.endLearning()
	default:
		networks := q.Networks
		if len(networks) == 0 {
			var err error
			if networks, err = s.parts.Subnets(); err != nil {
				return control.LearnMode{}, err
			}
		}
		s.policy.Learn(networks)
		l.networks, l.until = networks, time.Now().Add(q.For)
		s.journal.LearnModeBegan(networks, l.until)
	}
	return l.mode(), nil
}

// endLearning closes the networks. The caller holds learning.mu.
func (s *Server) endLearning() {
	if s.learning.networks == nil {
		return
	}
	s.policy.Learn(nil)
	s.learning.networks, s.learning.until = nil, time.Time{}
	s.journal.LearnModeEnded()
}

// watchDevices ends learn mode, raises alerts for devices that have fallen silent, and
// stores the devices, until ctx ends.
func (s *Server) watchDevices(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	checked, stored := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			s.storeDevices()
			return
		case <-ticker.C:
		}
		now := time.Now()
		s.learning.mu.Lock()
		if now.After(s.learning.until) {
			s.endLearning()
		}
		s.learning.mu.Unlock()
		if now.Sub(checked) >= silencePeriod && (s.config.ClockTrusted == nil || s.config.ClockTrusted()) {
			checked = now
			s.checkSilence()
		}
		if now.Sub(stored) >= storePeriod {
			stored = now
			s.storeDevices()
		}
	}
}

// silentAfter returns the time without mail that the settings set for a device.
func (s *Server) silentAfter(d device.Device) time.Duration {
	return s.policy.Access(policy.Client{Address: d.Address, MAC: d.MAC}).Device.SilentAfter
}

// checkSilence raises one alert for the devices that have fallen silent.
func (s *Server) checkSilence() {
	silent := s.devices.MarkSilent(s.silentAfter)
	if len(silent) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("These devices used to send mail regularly and have fallen silent:\n\n")
	for _, d := range silent {
		name := s.describe(d).Title()
		s.journal.DeviceSilent(d.Address, name, d.LastSent)
		fmt.Fprintf(&b, "  %s, last message %s\n", name, d.LastSent.Format("2 January 2006, 15:04 MST"))
	}
	b.WriteString("\nCheck that they are switched on and reach this box, and send a test message from each.\n")
	subject := fmt.Sprintf("%s is silent", s.describe(silent[0]).Title())
	if len(silent) > 1 {
		subject = fmt.Sprintf("%d devices are silent", len(silent))
	}
	s.dispatcher.Alert(subject, b.String())
}

// loadDevices restores the stored devices.
func (s *Server) loadDevices(ctx context.Context) {
	text, err := s.parts.LoadDevices(ctx)
	if err == nil {
		err = s.devices.Restore(text)
	}
	if err != nil {
		s.journal.MachineFault("devices", err)
	}
}

// storeDevices stores the devices if they have changed.
func (s *Server) storeDevices() {
	text, changed, err := s.devices.Encode()
	if err == nil && changed {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err = s.parts.StoreDevices(ctx, text); err != nil {
			s.devices.NotStored()
		}
	}
	if err != nil {
		s.journal.MachineFault("devices", err)
	}
}
