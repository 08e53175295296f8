// Package device keeps what the relay has seen of each client: its name, its TLS, its
// quirks, when and how much it sends, and when one that sends regularly falls silent.
//
// It keeps values in memory and encodes them for storage. It must not know where they
// are stored, who may send, or how a client is served.
package device

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sealpost/hal/printable"
	"sealpost/relay/envelope"
)

// maxDevices is how many devices are remembered. Of more, those that only were refused go
// first, then those that sent on the fewest days, then those that were not seen for longest.
const maxDevices = 512

// Limits of what a client can make the relay store.
const (
	maxQuirks = 24
	maxText   = 200 // octets of a name or a reply
)

// Device is one client: an IPv4 address, or the /64 of an IPv6 address.
type Device struct {
	Address   netip.Addr `json:"address"` // the last one
	MAC       string     `json:"mac,omitempty"`
	Vendor    string     `json:"vendor,omitempty"` // of the MAC's prefix
	Hello     string     `json:"hello,omitempty"`  // EHLO or HELO argument, unverified
	TLS       string     `json:"tls,omitempty"`    // version; empty for clear text
	Login     string     `json:"login,omitempty"`  // mechanism of SMTP AUTH
	User      string     `json:"user,omitempty"`
	Quirks    []string   `json:"quirks,omitempty"`
	First     time.Time  `json:"first"`             // seen
	Last      time.Time  `json:"last"`              // seen
	FirstSent time.Time  `json:"first_sent"`        // a message of it was accepted; zero if none was
	LastSent  time.Time  `json:"last_sent"`         // likewise
	Messages  int64      `json:"messages"`          // accepted
	Refusals  int64      `json:"refusals"`          // of connections, commands and messages
	Refusal   string     `json:"refusal,omitempty"` // the last one, unless a message was accepted since
	Habit     Habit      `json:"habit"`
	// Silent is when an alert was raised because nothing comes any more; zero without.
	Silent time.Time `json:"silent"`
}

// Habit is how regularly a device sends.
type Habit struct {
	Days uint32        `json:"days"` // bit n is set if it sent n days before Day
	Day  int64         `json:"day"`  // days since 1970
	Gap  time.Duration `json:"gap"`  // the longest time between two messages
}

// Registry is the devices of a site. It is safe for concurrent use.
type Registry struct {
	now     func() time.Time
	started time.Time // when the relay started

	mu      sync.Mutex // guards the rest; nothing else is locked under it
	devices map[netip.Prefix]*Device
	changed bool // since the last Encode
}

// uptime is how long the relay runs, whatever happened to the clock since.
func (r *Registry) uptime() time.Duration { return r.now().Sub(r.started) }

// New returns a registry without devices. now returns the time with a reading of the
// monotonic clock, as time.Now does.
func New(now func() time.Time) *Registry {
	return &Registry{now: now, started: now(), devices: make(map[netip.Prefix]*Device)}
}

// Record records what was seen of a client.
func (r *Registry) Record(o Observation) {
	key := envelope.ClientNetwork(o.Client)
	if !key.IsValid() || o.isHealthCheck() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
	now := r.now().UTC().Truncate(time.Second)
	d := r.devices[key]
	if d == nil {
		r.makeRoom()
		d = &Device{First: now}
		r.devices[key] = d
	}
	d.Address, d.Last = o.Client.Unmap().WithZone(""), later(d.Last, now)
	if o.MAC != "" {
		d.MAC, d.Vendor = o.MAC, Vendor(o.MAC)
	}
	setIfGiven(&d.Hello, o.Hello)
	setIfGiven(&d.Login, o.Login)
	setIfGiven(&d.User, o.User)
	for _, quirk := range o.Quirks {
		if !slices.Contains(d.Quirks, quirk) && len(d.Quirks) < maxQuirks {
			d.Quirks = append(d.Quirks, quirk)
		}
	}
	if o.Refused {
		d.Refusals++
		d.Refusal = truncate(o.Refusal)
	}
	if o.Messages > 0 {
		d.TLS = o.TLS
		d.recordSent(now, r.uptime(), o.Messages)
	}
}

// recordSent records accepted messages. A gap counts only while the relay runs: before, it
// could receive nothing, or its clock was wrong.
func (d *Device) recordSent(now time.Time, uptime time.Duration, messages int) {
	if d.FirstSent.IsZero() {
		d.FirstSent = now
	} else {
		d.Habit.Gap = max(d.Habit.Gap, min(now.Sub(d.LastSent), uptime))
	}
	day := dayOf(now)
	if ago := day - d.Habit.Day; ago > 0 {
		d.Habit.Days, d.Habit.Day = d.Habit.Days<<min(ago, 32), day
	}
	d.Habit.Days |= 1
	d.Messages += int64(messages)
	d.LastSent, d.Silent, d.Refusal = later(d.LastSent, now), time.Time{}, ""
}

// dayOf returns the days since 1970.
func dayOf(t time.Time) int64 { return t.Unix() / int64((24 * time.Hour).Seconds()) }

// makeRoom forgets a device if there are too many. The caller holds mu.
func (r *Registry) makeRoom() {
	if len(r.devices) < maxDevices {
		return
	}
	var victim netip.Prefix
	for key, d := range r.devices {
		v := r.devices[victim]
		if v == nil || compareWorth(*d, *v) < 0 {
			victim = key
		}
	}
	delete(r.devices, victim)
}

// compareWorth orders devices by which is worth keeping: one that has sent on several days,
// then the one that was seen last.
func compareWorth(a, b Device) int {
	days := func(d Device) int { return min(bits.OnesCount32(d.Habit.Days), regularDays) }
	return cmp.Or(cmp.Compare(days(a), days(b)), a.Last.Compare(b.Last))
}

// List returns the devices, those seen last first.
func (r *Registry) List() []Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Device, 0, len(r.devices))
	for _, d := range r.devices {
		all = append(all, d.clone())
	}
	slices.SortFunc(all, func(a, b Device) int {
		return cmp.Or(b.Last.Compare(a.Last), a.Address.Compare(b.Address))
	})
	return all
}

func (d *Device) clone() Device {
	c := *d
	c.Quirks = slices.Clone(d.Quirks)
	return c
}

func setIfGiven(field *string, value string) {
	if value != "" {
		*field = truncate(value)
	}
}

// truncate shortens a client's text. What is not printable needs six octets where it is
// stored.
func truncate(text string) string {
	text = printable.Line(text[:min(len(text), maxText)])
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
