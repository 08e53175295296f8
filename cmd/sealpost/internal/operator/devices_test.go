package operator

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/control"
	"sealpost/relay/device"
)

// site is a list of devices in learn mode, the last two of which were let in before.
func site() DeviceList {
	at := func(address string, d control.Device) control.Device {
		d.Address = netip.MustParseAddr(address)
		return d
	}
	sent := device.Device{Messages: 1, LastSent: time.Now()}
	return DeviceList{Command: "sealpost devices", Devices: []control.Device{
		at("192.168.10.20", control.Device{Device: sent, Allowed: true, Learned: true}),
		at("192.168.10.21", control.Device{Device: device.Device{Messages: 2, Vendor: "Canon"}, Allowed: true, Learned: true}),
		at("192.168.10.22", control.Device{Device: sent}), // in an earlier learn mode
		at("192.168.10.23", control.Device{Device: device.Device{Refusal: "554 5.7.1 no"}}),
		at("192.168.10.24", control.Device{Device: device.Device{Refusal: "554 5.7.1 no"}, Listed: true}),
		at("192.168.10.25", control.Device{Device: sent, Allowed: true, Listed: true}),
	}}
}

const listed = `senders.accepted_domains = ["contoso.com"]

[[device]]
address = '192.168.10.24'
refuse = true
`

func TestAdopt_ListsEveryDeviceThatSentOnlyInLearnMode(t *testing.T) {
	edited, done, err := site().Adopt([]byte(listed), nil)
	want := listed + "\n[[device]]\naddress = '192.168.10.20'\n\n[[device]]\naddress = '192.168.10.21'\nname = 'Canon'\n\n[[device]]\naddress = '192.168.10.22'\n"
	if err != nil || string(edited) != want || done != "let in: 192.168.10.20, 192.168.10.21, 192.168.10.22" {
		t.Fatalf("got %q, %q, %v, want %q", edited, done, err, want)
	}
	if _, _, err := site().Adopt(edited, nil); fault.CodeOf(err) != fault.NoDevice {
		t.Errorf("again, before the relay is restarted: got %v", err)
	}
}

func TestAdopt_ListsTheNamedDevices(t *testing.T) {
	edited, done, err := site().Adopt([]byte(listed), []string{"192.168.10.23"})
	if err != nil || string(edited) != listed+"\n[[device]]\naddress = '192.168.10.23'\n" || done != "let in: 192.168.10.23" {
		t.Errorf("got %q, %q, %v", edited, done, err)
	}
	for address, want := range map[string]string{
		"192.168.10.24": "the settings list 192.168.10.24 already: change what they say with: sealpost devices set 192.168.10.24 KEY=VALUE",
		"192.168.10.99": `no device with the address "192.168.10.99" has connected`,
		"canon":         `no device with the address "canon" has connected`,
	} {
		if _, _, err := site().Adopt([]byte(listed), []string{address}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDeviceList_NamesTheCommandThatHelps(t *testing.T) {
	lines := strings.Split(site().String(), "\n")
	for i, want := range []string{
		"may send during learn mode only; let it in for good: sealpost devices adopt 192.168.10.20",
		"may send during learn mode only; let it in for good: sealpost devices adopt 192.168.10.21",
		"may not send; let it in: sealpost devices adopt 192.168.10.22",
		"may not send; let it in: sealpost devices adopt 192.168.10.23; refused: 554 5.7.1 no",
		"the settings refuse its mail; let it in: sealpost devices set 192.168.10.24 refuse=; refused: 554 5.7.1 no",
		"",
	} {
		if got := lines[i+1]; !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want %q at the end", got, want)
		}
	}
}

func TestSetDevice_SaysWhetherTheDeviceIsNew(t *testing.T) {
	for which, want := range map[string]string{"192.168.10.24": "changed 192.168.10.24", "192.168.10.30": "listed 192.168.10.30"} {
		if _, done, err := SetDevice([]byte(listed), which, map[string]string{"name": "Canon"}); err != nil || done != want {
			t.Errorf("got %q, %v, want %q", done, err, want)
		}
	}
}
