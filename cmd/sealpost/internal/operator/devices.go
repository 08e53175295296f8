package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"

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
	// AdoptCommand is what lets a refused device in; its address follows.
	AdoptCommand string `json:"-"`
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
		devices.Seen = append(devices.Seen, api.Device{
			Address: d.Address, Name: d.Name, Maker: d.Vendor, Hello: d.Hello, MAC: d.MAC, TLS: d.TLS, User: d.User, Login: d.Login != "",
			Quirks: d.Quirks, LastSent: d.LastSent, Messages: d.Messages, Refusal: d.Refusal, Silent: d.Silent,
			Allowed: d.Allowed, Learned: d.Learned, Listed: d.Listed})
	}
	devices.Learning = api.Learning{For: list.Learning.For, Networks: list.Learning.Networks}
	return devices, err
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
		fmt.Fprintf(&b, "learn mode: everything in %s may send for another %s\n", networks(l.Learning.Networks), l.Learning.For)
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
	if d.Learned {
		notes = append(notes, "may send during learn mode only: "+l.AdoptCommand+d.Address.String())
	}
	if d.Refusal != "" {
		notes = append(notes, "refused: "+d.Refusal)
	}
	if !d.Allowed {
		notes = append(notes, "let it in: "+l.AdoptCommand+d.Address.String())
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

// Adopt returns a change of settings that lists devices, so that they may send. which are
// their addresses; without any it means those that have sent only because of learn mode.
// It returns the names of the adopted devices too.
func (l DeviceList) Adopt(which []string) (change func([]byte) ([]byte, error), adopted []string, err error) {
	names := map[string]string{}
	for _, d := range l.Devices {
		if d.Learned && d.Messages > 0 && len(which) == 0 {
			which = append(which, d.Address.String())
		}
		names[d.Address.String()] = cmp.Or(d.Name, d.Vendor)
	}
	if len(which) == 0 {
		return nil, nil, fault.New(fault.NoDevice, "no device has sent only because of learn mode")
	}
	for _, address := range which {
		if _, seen := names[address]; !seen {
			return nil, nil, fault.New(fault.NoDevice, "the relay has not seen this device").With("address", address)
		}
		adopted = append(adopted, address)
	}
	return func(text []byte) (_ []byte, err error) {
		for _, address := range adopted {
			changes := map[string]string{}
			if names[address] != "" {
				changes["name"] = names[address]
			}
			if text, err = settings.EditDevice(text, address, changes); err != nil {
				return nil, err
			}
		}
		return text, nil
	}, adopted, nil
}

// ParseChanges reads key=value arguments.
func ParseChanges(arguments []string) (map[string]string, error) {
	changes := map[string]string{}
	for _, argument := range arguments {
		key, value, found := strings.Cut(argument, "=")
		if !found {
			return nil, fmt.Errorf("%q is not a change: write it like tls=legacy, and tls= to remove a setting", argument)
		}
		changes[key] = value
	}
	if len(changes) == 0 {
		return nil, errors.New("name at least one change, like tls=legacy")
	}
	return changes, nil
}
