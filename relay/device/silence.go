package device

import (
	"math/bits"
	"net/netip"
	"time"
)

// A device sends daily if it sent on at least regularDays of the last 14 days before its
// last message, and has sent for a week, so that a weekend is part of its habit. It has
// fallen silent after the longest gap so far and a quarter, but not before minSilence.
const (
	regularDays = 5
	regularTime = 7 * 24 * time.Hour
	minSilence  = 26 * time.Hour
)

// MarkSilent returns the devices that have fallen silent since the last call, and marks them.
// after returns the time without mail that the settings set for a device; 0 means by
// its habit. The clock must be right. The time before the relay was started does not count: it could not receive
// anything.
func (r *Registry) MarkSilent(after func(Device) time.Duration) []Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent []Device
	now, uptime := r.now().UTC().Truncate(time.Second), r.uptime()
	for _, d := range r.devices {
		d.correct(now)
		limit := after(d.clone())
		if limit == 0 {
			limit = d.silenceLimit()
		}
		if limit == 0 || d.LastSent.IsZero() || !d.Silent.IsZero() || min(now.Sub(d.LastSent), uptime) < limit {
			continue
		}
		d.Silent, r.changed = now, true
		silent = append(silent, d.clone())
	}
	return silent
}

// correct removes times after now, when the clock was wrong.
func (d *Device) correct(now time.Time) {
	for _, at := range []*time.Time{&d.First, &d.Last, &d.FirstSent, &d.LastSent} {
		if at.After(now) {
			*at = now
		}
	}
	if today := dayOf(now); d.Habit.Day > today {
		d.Habit.Days, d.Habit.Day = 0, today
	}
}

// silenceLimit returns within what time a device sends again; 0 if it is not regular.
func (d *Device) silenceLimit() time.Duration {
	const fortnight = 1<<14 - 1
	if bits.OnesCount32(d.Habit.Days&fortnight) < regularDays || d.LastSent.Sub(d.FirstSent) < regularTime {
		return 0
	}
	return max(minSilence, d.Habit.Gap+d.Habit.Gap/4)
}

// Find returns the device at an address.
func (r *Registry) Find(address netip.Addr) (Device, bool) {
	for _, d := range r.List() {
		if d.Address == address.Unmap().WithZone("") {
			return d, true
		}
	}
	return Device{}, false
}
