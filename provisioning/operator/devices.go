package operator

import (
	"fmt"
	"net/netip"
	"time"
)

// Devices is what the relay has seen of devices.
type Devices struct {
	Seen     []Device // those seen last first
	Learning Learning // the zero value without learn mode
}

// Device is a device that has connected.
type Device struct {
	Address  netip.Addr
	Name     string // in the settings
	Maker    string // of its network interface
	Hello    string // what it calls itself, unverified
	MAC      string
	TLS      string // version; empty for clear text
	User     string // as whom it logs in
	Login    bool   // it logs in, perhaps as nobody in particular
	Quirks   []string
	LastSent time.Time // zero if it has sent nothing
	Messages int64
	Refusal  string    // the last reply, unless a message was accepted since
	Silent   time.Time // when an alert was raised because it sends nothing any more
	Allowed  bool      // it may send
	Learned  bool      // only while learn mode lasts
	Listed   bool      // because of the settings of this one device, or not because of them
}

// NeedsAttention reports whether somebody has to do something about the device.
func (d Device) NeedsAttention() bool {
	return d.Learned || !d.Allowed || d.Refusal != "" || !d.Silent.IsZero()
}

// Adoptable reports whether the device has sent, but could only during learn mode.
func (d Device) Adoptable() bool {
	return d.Messages > 0 && !d.Listed && (d.Learned || !d.Allowed)
}

// Learning is a time during which everything in some networks may send.
type Learning struct {
	For      time.Duration  // that it lasts, or still lasts; 0 ends it
	Networks []netip.Prefix // none means the box's own
}

// Question is a message that a device would send, as a person types it.
type Question struct {
	Client, From, User string // From and User may be empty
	To, Authors        []string
	TLS                bool
}

// Since returns how long ago something was.
func Since(t time.Time) string {
	switch age := time.Since(t); {
	case t.IsZero():
		return "never"
	case age < time.Minute:
		return "just now"
	case age < time.Hour:
		return fmt.Sprintf("%d min ago", int(age.Minutes()))
	case age < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(age.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(age.Hours()/24))
	}
}
