package settings

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

const devicesText = `
[senders]
accepted_domains = ["contoso.com"]
default = "printer@contoso.com"

[[senders.map]]
from = "@MFP.local"
to = "scanner@contoso.com"

[recipients]
allow = ["own", "@fabrikam.com"]

[[device]]
address = "192.168.10.20"
name = "Canon, 2nd floor"
tls = "legacy"
auth = "any"
sender = "canon@contoso.com"
senders = ["canon@contoso.com"]
recipients = ["own", "boss@fabrikam.com"]
tag = "floor2"
connections = 3
messages_per_minute = 10
message_size = "20MiB"
recipients_per_message = 5
spool_share = 10
silent_after = "26h"

[[device]]
mac = "00-1E-8F-12-34-56"
refuse = true
`

func TestParse_ReadsDevices(t *testing.T) {
	s, err := Parse([]byte(devicesText))
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{{
		Address: AddressOrNetwork{netip.MustParsePrefix("192.168.10.20/32")}, Name: "Canon, 2nd floor", TLS: DeviceTLSLegacy, Auth: DeviceAuthAny,
		Sender: "canon@contoso.com", Senders: []SenderPattern{"canon@contoso.com"}, Recipients: []RecipientPattern{RecipientsOwn, "boss@fabrikam.com"},
		Tag: "floor2", Connections: 3, MessagesPerMinute: 10, MessageSize: 20 << 20, RecipientsPerMessage: 5, SpoolShare: 10, SilentAfter: Duration{26 * time.Hour},
	}, {MAC: "00:1e:8f:12:34:56", Refuse: true}}
	if !reflect.DeepEqual(s.Devices, want) {
		t.Errorf("got %+v, want %+v", s.Devices, want)
	}
	if want := []Rewrite{{From: "@mfp.local", To: "scanner@contoso.com"}}; !reflect.DeepEqual(s.Senders.Map, want) {
		t.Errorf("got %+v, want %+v", s.Senders.Map, want)
	}
}

func TestParse_NamesTheDeviceAtFault(t *testing.T) {
	const head = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
	for _, c := range []struct {
		text string
		line int
		want string
	}{
		{"[[device]]\nname = \"a\"", 3, "needs one of address and mac"},
		{"[[device]]\naddress = \"10.0.0.1\"\nmac = \"001e8f123456\"", 3, "needs one of address and mac"},
		{"[[device]]\naddress = \"10.0.0.1\"\n[[device]]\naddress = \"10.0.0.1\"", 6, "device[2].address is 10.0.0.1, as that of a device above"},
		{"[[device]]\nmac = \"001e8f123456\"\n[[device]]\nmac = \"00:1E:8F:12:34:56\"", 6, "device[2].mac is 00:1e:8f:12:34:56, as that of a device above"},
		{"[[device]]\naddress = \"8.0.0.0/8\"", 4, "a large part of the internet"},
		{"[[device]]\naddress = \"10.0.0.300\"", 4, `"10.0.0.300" is not an address`},
		{"[[device]]\nmac = \"00:1e:8f:12:34\"", 4, "is not a MAC address"},
		{"[[device]]\naddress = \"10.0.0.1\"\n[[device]]\naddress = \"10.0.0.2\"\ntls = \"old\"", 7, `write "legacy" or "required"`},
		{"[[device]]\naddress = \"10.0.0.1\"\nadress = \"10.0.0.2\"", 5, "did you mean device.address?"},
		{"[[device]]\naddress = \"10.0.0.1\"\nsender = \"a@other.com\"", 5, "is in other.com, which is not among senders.accepted_domains"},
		{"[[device]]\naddress = \"10.0.0.1\"\nsender = \"a@contoso.com\"\nsenders = [\"b@contoso.com\"]", 5, "which is not among its senders"},
		{"[[device]]\naddress = \"10.0.0.1\"\nsenders = [\"@other.com\"]", 5, `lists "@other.com", which is not in senders.accepted_domains`},
		{"[[device]]\naddress = \"10.0.0.1\"\nrecipients = [\"all\"]", 5, `"all" is not a recipient`},
		{"[[device]]\naddress = \"10.0.0.1\"\ntag = \"a b\"", 5, `"a b" is not a tag`},
		{"[[device]]\naddress = \"10.0.0.1\"\nspool_share = 101", 5, "write a percentage"},
		{"[[device]]\naddress = \"10.0.0.1\"\nmessage_size = \"10KiB\"", 5, "is 10KiB: write a size from 64KiB to limits.message_size, which is 150MiB"},
		{"[[device]]\naddress = \"10.0.0.1\"\nmessage_size = \"151MiB\"", 5, "is 151MiB: write a size from 64KiB to limits.message_size, which is 150MiB"},
		{"[[device]]\naddress = \"10.0.0.1\"\nrecipients_per_message = 501", 5, "is 501, more than limits.recipients, which is 500"},
		{"[device]\naddress = \"10.0.0.1\"", 3, "write each as [[device]]"},
		{"[[senders.map]]\nto = \"a@contoso.com\"", 3, "senders.map[1].from is empty"},
		{"[[senders.map]]\nfrom = \"@x\"\nto = \"a@other.com\"", 5, "is in other.com"},
	} {
		_, err := Parse([]byte(head + c.text))
		var fault Error
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), c.want) || fault.Line != c.line {
			t.Errorf("%s\ngot line %d: %v\nwant line %d: %s", c.text, fault.Line, err, c.line, c.want)
		}
	}
}

// TestParseStored_NeverIgnoresADevice: without its rule a device could do what the
// settings forbid.
func TestParseStored_NeverIgnoresADevice(t *testing.T) {
	text := strings.Replace(devicesText, `senders = ["canon@contoso.com"]`, `senders = 1`, 1)
	if _, err := ParseStored([]byte(text), Schema); err == nil || !strings.Contains(err.Error(), "device[1].senders") {
		t.Errorf("got %v, want the fault of device[1].senders", err)
	}
	s, err := ParseStored([]byte(devicesText+"color = \"red\"\n"), Schema+1)
	if err != nil || len(s.Devices) != 2 || len(s.Ignored) != 1 {
		t.Errorf("an unknown key: got %d devices, ignored %v, %v", len(s.Devices), s.Ignored, err)
	}
	if edited, _, err := EditStored([]byte(devicesText+"color = \"red\"\n"), Schema+1); err != nil {
		t.Error(err)
	} else if again, err := Parse(edited); err != nil || !reflect.DeepEqual(again.Devices, s.Devices) {
		t.Errorf("edited: got %v, %v", again.Devices, err)
	}
}
