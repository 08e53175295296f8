package console

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/hal/printable"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// maxDevices is how many devices are listed: a serial line shows ten kilobytes in a second.
const maxDevices = 40

// devices shows the devices that have connected, and changes what they may do.
func (s *session) devices(ctx context.Context) error {
	var devices operator.Devices
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		devices, err = s.box.Devices(ctx)
		return err
	})
	if err != nil || !done {
		return err
	}
	s.showDevices(devices)
	return s.choose(ctx, "Devices", "1", []choice{
		{"leave them", func(context.Context) error { return nil }},
		{"learn: let everything in a network send for a while, to see what does", func(ctx context.Context) error { return s.learn(ctx, devices.Learning) }},
		{"adopt: let devices of this list send from now on", func(ctx context.Context) error { return s.adopt(ctx, devices) }},
		{"set: change what the settings say of one device", func(ctx context.Context) error { return s.setDevice(ctx, devices) }},
		{"remove: remove one device from the settings", func(ctx context.Context) error { return s.removeDevice(ctx, devices) }},
		{"explain: say what happens to a message, without sending it", s.explain},
	})
}

// deviceRow is a row of the list of devices: address, device, last message, messages, TLS.
const deviceRow = "  %-15s  %-24s  %-13s  %8s  %s"

// showDevices lists devices, those that need attention first.
func (s *session) showDevices(devices operator.Devices) {
	s.sayLearning(devices.Learning)
	if len(devices.Seen) == 0 {
		s.t.Say("No device has connected yet.")
		return
	}
	seen := slices.Clone(devices.Seen)
	slices.SortStableFunc(seen, func(a, b operator.Device) int { return attention(a) - attention(b) })
	s.t.Say(deviceRow, "address", "device", "last message", "messages", "TLS")
	for _, d := range seen[:min(len(seen), maxDevices)] {
		address := d.Address.String()
		if d.Address.Is6() { // too long for the column
			s.t.Say("  %s", address)
			address = ""
		}
		s.t.Say(deviceRow, address, shorten(deviceName(d), 24), operator.Since(d.LastSent), fmt.Sprint(d.Messages), cmp.Or(d.TLS, "-"))
		if notes := deviceNotes(d); len(notes) > 0 {
			s.t.hang("      ", "    "+ascii(printable.Line(strings.Join(notes, "; "))))
		}
	}
	if more := len(seen) - maxDevices; more > 0 {
		s.t.Say("  and %d more", more)
	}
}

// attention orders devices: those that need it come first.
func attention(d operator.Device) int {
	if d.NeedsAttention() {
		return 0
	}
	return 1
}

// deviceName is what a person may know a device by.
func deviceName(d operator.Device) string { return cmp.Or(d.Name, d.Maker, d.Hello, "-") }

// shorten cuts a text that does not fit into a column.
func shorten(text string, width int) string {
	if text = ascii(printable.Line(text)); len(text) > width {
		return text[:width-3] + "..."
	}
	return text
}

// deviceNotes say what is special about a device, what matters most first.
func deviceNotes(d operator.Device) (notes []string) {
	switch {
	case d.Learned:
		notes = append(notes, "sends only because of learn mode: adopt lets it stay")
	case !d.Allowed && d.Listed:
		notes = append(notes, "the settings refuse its mail")
	case !d.Allowed:
		notes = append(notes, "may not send: adopt lets it in")
	}
	if d.Refusal != "" {
		notes = append(notes, "refused: "+d.Refusal)
	}
	if !d.Silent.IsZero() {
		notes = append(notes, "silent: an alert was raised "+operator.Since(d.Silent))
	}
	switch {
	case d.User != "":
		notes = append(notes, "user "+d.User)
	case d.Login:
		notes = append(notes, "logs in")
	}
	if d.MAC != "" {
		notes = append(notes, "MAC "+d.MAC)
	}
	return append(notes, d.Quirks...)
}

// sayLearning says until when learn mode lasts; nothing without learn mode.
func (s *session) sayLearning(l operator.Learning) {
	if l.For <= 0 {
		return
	}
	var networks []string
	for _, network := range l.Networks {
		networks = append(networks, settings.AddressOrNetwork{Prefix: network}.String())
	}
	s.t.Say("Learn mode: everything in %s may send until %s UTC.", strings.Join(networks, ", "), time.Now().Add(l.For).UTC().Format("15:04"))
}
