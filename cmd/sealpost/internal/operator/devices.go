package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"sealpost/hal/fault"
	"sealpost/hal/printable"
	api "sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
)

// DeviceList is the devices that a relay has seen, those seen last first.
type DeviceList struct {
	Devices []control.Device `json:"devices"`
	// Learning is learn mode; the zero value if it is off.
	Learning control.LearnMode `json:"learning"`
	// Command is the command of the devices, for the cures in the notes.
	Command string `json:"-"`
}

// Devices returns what a relay has seen of devices.
func Devices(ctx context.Context, r control.Relay) (list DeviceList, err error) {
	for d, err := range r.Devices(ctx) {
		if err != nil {
			return list, err
		}
		list.Devices = append(list.Devices, d)
	}
	list.Learning, err = r.LearnMode(ctx)
	return list, err
}

// Devices implements [api.Box].
func (l Local) Devices(ctx context.Context) (devices api.Devices, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	list, err := Devices(ctx, l.relay())
	for _, d := range list.Devices {
		devices.Seen = append(devices.Seen, seen(d))
	}
	devices.Learning = api.Learning{For: list.Learning.For, Networks: list.Learning.Networks}
	return devices, err
}

// seen returns what an operator sees of a device.
func seen(d control.Device) api.Device {
	return api.Device{
		Address: d.Address, Name: d.Name, Maker: d.Vendor, Hello: d.Hello, MAC: d.MAC, TLS: d.TLS, User: d.User, Login: d.Login != "",
		Quirks: d.Quirks, LastSent: d.LastSent, Messages: d.Messages, Refusal: d.Refusal, Silent: d.Silent,
		Allowed: d.Allowed, Learned: d.Learned, Listed: d.Listed}
}

// Learn implements [api.Box].
func (l Local) Learn(ctx context.Context, mode api.Learning) (api.Learning, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	begun, err := l.relay().Learn(ctx, control.LearnMode{For: mode.For, Networks: mode.Networks})
	return api.Learning{For: begun.For, Networks: begun.Networks}, err
}

// String returns one line for each device, and another for one that needs attention.
func (l DeviceList) String() string {
	var b strings.Builder
	if l.Learning.For > 0 {
		fmt.Fprintf(&b, "learn mode: everything in %s may send until %s\n", networks(l.Learning.Networks), time.Now().Add(l.Learning.For).Format("15:04 MST"))
	}
	if len(l.Devices) == 0 {
		b.WriteString("no device has connected yet")
		return b.String()
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ADDRESS\tDEVICE\tLAST MESSAGE\tMESSAGES\tTLS\tNOTES")
	for _, d := range l.Devices {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", d.Address, printable.Line(cmp.Or(d.Name, d.Vendor, d.Hello, d.MAC, "-")),
			api.Since(d.LastSent), d.Messages, cmp.Or(d.TLS, "-"), printable.Line(strings.Join(l.notes(d), "; ")))
	}
	_ = table.Flush()
	return b.String()
}

// notes say what is special about a device.
func (l DeviceList) notes(d control.Device) (notes []string) {
	if !d.Silent.IsZero() {
		notes = append(notes, "silent: an alert was raised "+api.Since(d.Silent))
	}
	switch {
	case d.Learned:
		notes = append(notes, fmt.Sprintf("may send during learn mode only; let it in for good: %s adopt %s", l.Command, d.Address))
	case !d.Allowed && d.Listed:
		notes = append(notes, fmt.Sprintf("the settings refuse its mail; let it in: %s set %s refuse=", l.Command, d.Address))
	case !d.Allowed:
		notes = append(notes, fmt.Sprintf("may not send; let it in: %s adopt %s", l.Command, d.Address))
	}
	if d.Refusal != "" {
		notes = append(notes, "refused: "+d.Refusal)
	}
	if d.User != "" {
		notes = append(notes, "user "+d.User)
	} else if d.Login != "" {
		notes = append(notes, "logs in")
	}
	return append(notes, d.Quirks...)
}

func networks(all []netip.Prefix) string {
	var texts []string
	for _, n := range all {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ", ")
}

// Adopt lists devices in a settings text, so that they may send, and says which. which
// are their addresses; without any it means those that have sent only because of learn
// mode and are not listed yet.
func (l DeviceList) Adopt(text []byte, which []string) (edited []byte, done string, err error) {
	names, all := map[string]string{}, len(which) == 0
	for _, d := range l.Devices {
		names[d.Address.String()] = cmp.Or(d.Name, d.Vendor)
		if all && seen(d).Adoptable() {
			which = append(which, d.Address.String())
		}
	}
	var adopted []string
	for _, address := range which {
		name, seen := names[address]
		if !seen {
			return nil, "", fault.New(fault.NoDevice, fmt.Sprintf("no device with the address %.50q has connected", address))
		}
		block, err := settings.DeviceText(text, address)
		switch {
		case err != nil:
			return nil, "", err
		case block != "" && all:
			continue
		case block != "":
			return nil, "", fmt.Errorf("the settings list %s already: change what they say with: %s set %s KEY=VALUE", address, l.Command, address)
		}
		changes := map[string]string{}
		if name != "" {
			changes["name"] = name
		}
		if text, err = settings.EditDevice(text, address, changes); err != nil {
			return nil, "", err
		}
		adopted = append(adopted, address)
	}
	if len(adopted) == 0 {
		return nil, "", fault.New(fault.NoDevice, "no device has sent only because of learn mode, or the settings list them all")
	}
	return text, "let in: " + strings.Join(adopted, ", "), nil
}

// SetDevice changes a device in a settings text, or lists it, and says which.
func SetDevice(text []byte, which string, changes map[string]string) (edited []byte, done string, err error) {
	done = "changed " + which
	if block, err := settings.DeviceText(text, which); err == nil && block == "" {
		done = "listed " + which
	}
	edited, err = settings.EditDevice(text, which, changes)
	return edited, done, err
}

// RemoveDevice removes a device from a settings text.
func RemoveDevice(text []byte, which string) (edited []byte, done string, err error) {
	edited, err = settings.RemoveDevice(text, which)
	return edited, "removed " + which, err
}

// ParseChanges reads key=value arguments.
func ParseChanges(arguments []string) (map[string]string, error) {
	changes := map[string]string{}
	for _, argument := range arguments {
		key, value, found := strings.Cut(argument, "=")
		if !found {
			return nil, fmt.Errorf("%q is not a change: write it like tls=legacy, or tls= to remove a setting", argument)
		}
		changes[key] = value
	}
	if len(changes) == 0 {
		return nil, errors.New("name at least one change, such as tls=legacy")
	}
	return changes, nil
}
