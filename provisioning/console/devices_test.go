package console

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// played is when a dialogue begins: synctest's clock starts there.
var played = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// seenDevices is a site's devices, those seen last first.
func seenDevices() operator.Devices {
	return operator.Devices{Seen: []operator.Device{
		{Address: netip.MustParseAddr("192.168.10.20"), Name: "Canon, 2nd floor", MAC: "00:1e:8f:12:34:56", TLS: "TLS 1.2", LastSent: played.Add(-5 * time.Minute), Messages: 1204, Allowed: true},
		{Address: netip.MustParseAddr("192.168.10.31"), Maker: "Kyocera", MAC: "00:c0:ee:00:00:01", LastSent: played.Add(-time.Hour), Messages: 3, Allowed: true, Learned: true, Quirks: []string{"bare LF", "no brackets"}},
		{Address: netip.MustParseAddr("2001:db8:1234:5678:aaaa:bbbb:cccc:dddd"), Hello: "a-very-long-name-of-a-device.corp.contoso.com", User: "printer", Login: true, Allowed: true},
		{Address: netip.MustParseAddr("192.168.20.7"), Hello: "alarm", Refusal: "554 5.7.1 relay.contoso.com: 192.168.20.7 may not send here; ask the administrator to allow its network"},
		{Address: netip.MustParseAddr("192.168.10.22"), Name: "UPS", LastSent: played.Add(-30 * time.Hour), Messages: 90, Silent: played.Add(-2 * time.Hour), Allowed: true, Login: true},
		{Address: netip.MustParseAddr("192.168.10.23"), Name: "Guest PC", Listed: true},
	}}
}

func TestConsole_ListsAdoptsAndChangesDevices(t *testing.T) {
	box := setUpBox()
	box.devices = seenDevices()
	play(t, box, "devices")
	want := [][]settings.Device{
		{device("192.168.10.31", "Kyocera")},
		{device("192.168.10.31", "Kyocera"), device("192.168.20.7", "")},
		{device("192.168.10.31", "Kyocera"), with(device("192.168.20.7", "Alarm, attic"), func(d *settings.Device) { d.TLS, d.Connections = "legacy", 2 })},
		{device("192.168.10.31", "Kyocera"), device("192.168.20.7", "Alarm, attic")},
		{device("192.168.20.7", "Alarm, attic")},
	}
	var got [][]settings.Device
	for _, c := range box.commits[:len(box.commits)-1] { // the last one is the paste that goes on trial
		s, err := settings.Parse([]byte(c.Settings))
		if err != nil || c.Trial || c.Base == "" || s.Limits.Recipients != 30 {
			t.Errorf("%v, trial %v, base %q:\n%s", err, c.Trial, c.Base, c.Settings)
		}
		got = append(got, s.Devices)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
}

func device(address, name string) settings.Device {
	a := netip.MustParseAddr(address)
	return settings.Device{Address: settings.AddressOrNetwork{Prefix: netip.PrefixFrom(a, a.BitLen())}, Name: name}
}

func with(d settings.Device, change func(*settings.Device)) settings.Device {
	change(&d)
	return d
}

func TestConsole_BeginsAndEndsLearnMode(t *testing.T) {
	box := setUpBox()
	box.devices = seenDevices()
	play(t, box, "learn")
	if box.devices.Learning.For != 0 {
		t.Errorf("left %v", box.devices.Learning)
	}
}

func TestConsole_ExplainsAMessage(t *testing.T) {
	box := setUpBox()
	play(t, box, "explain")
	want := []operator.Question{
		{Client: "192.168.10.20", From: "scanner@mfp.local", To: []string{"boss@contoso.com", "ops@contoso.com"}, Authors: []string{"canon@contoso.com"}, TLS: true},
		{Client: "192.168.10.99", To: []string{"boss@contoso.com"}},
	}
	if fmt.Sprint(box.questions) != fmt.Sprint(want) {
		t.Errorf("asked %v, want %v", box.questions, want)
	}
}

func TestDevices_AreBoundedAndThoseThatNeedAttentionComeFirst(t *testing.T) {
	box := setUpBox()
	for i := range 512 {
		box.devices.Seen = append(box.devices.Seen, operator.Device{Address: netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)}), Messages: 1, Allowed: i != 500, Quirks: []string{strings.Repeat("long ", 400)}})
	}
	box.devices.Seen[500].Quirks = nil
	synctest.Test(t, func(t *testing.T) {
		line, pull := plug(t.Context(), New(box))
		line.output()
		output := line.typeAll("\r", "devices\r")
		first := strings.Index(output, "10.0.")
		if !strings.HasPrefix(output[first:], "10.0.1.244 ") || !strings.Contains(output, "  and 472 more\n") || strings.Count(output, "  10.0.") != maxDevices {
			t.Errorf("got %s", output)
		}
		_ = pull()
	})
}

func TestDeviceKeys_AreThoseOfTheSettings(t *testing.T) {
	var keys []string
	for _, key := range deviceKeys {
		keys = append(keys, key[0])
	}
	if !slices.Equal(keys, settings.DeviceKeys()) {
		t.Errorf("the console lists %q, the settings have %q", keys, settings.DeviceKeys())
	}
}
