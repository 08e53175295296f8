package settings

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

const minimal = "[senders]\naccepted_domains = [\"contoso.com\"]\n"

const everything = `
[site]
name = "Contoso Leeds"
alert = "alerts@msp.example"

[network]
address = "192.168.10.25/24"
gateway = "192.168.10.1"
dns = ["192.168.10.1", "fd00::1"]
ntp = ["ntp.contoso.com", "192.168.10.1"]
https_time = ["www.contoso.com"]
name = "mailbox"

[lan]
smtp = [":2525", "127.0.0.1:25", "[::1]:25"]
smtps = []
allow = ["192.168.10.0/24", "fd00::/8"]
require_tls = ["192.168.10.0/25"]
legacy_tls = ["192.168.10.128/25"]
require_auth = ["fd00::/16"]
hostname = "Relay.Contoso.com"

[limits]
message_size = "35MB"
recipients = 100
line = 2000
connections = 10
connections_per_client = 2
messages_per_minute = 60
memory = "64MiB"
session = "30m"
idle = "1m30s"
transactions = 5

[senders]
accepted_domains = ["Contoso.com", "contoso.co.uk"]
default = "Printer@CONTOSO.co.uk"
foreign = "refuse"
empty = "keep"
from = "keep"

[upstream]
method = "connector"
cloud = "gcc-high"
hold = "2s"
connections = 3
dns = ["192.168.10.1:53", "[fd00::1]:5353"]
timeout = "5m"
messages_per_minute = 30
recipients_per_day = 10000
connector = { host = "127.0.0.1", port = 2526, ca_file = "", ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }

[upstream.submission]
host = "SMTP.contoso.com"
port = 465
user = "Relay@Contoso.com"
own_mailbox = ["Scanner@Contoso.com", "@Contoso.co.uk"]
send_as = "default"
ca_file = "/etc/smtp.pem"
ca = ""

[upstream.oauth]
tenant = "Contoso.onmicrosoft.com"
client_id = "sealpost"
grant = "device"
key = "connector"
token_url = "https://issuer.contoso.com/token"
device_url = "https://issuer.contoso.com/device"
scopes = ["mail.send", "offline_access"]
audience = "https://issuer.contoso.com"
algorithm = "RS256"
ca_file = ""
ca = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"

[upstream.direct]
port = 2527
resolver = "tls://dns.contoso.com@192.0.2.53:853"
ca_file = "/etc/mx.pem"
ca = ""

[upstream.direct.dkim]
domains = ["Contoso.com"]
selector = "Relay-1"
algorithms = ["ed25519"]

[[upstream.direct.domain]]
name = "Fabrikam.com"
tls = "encrypt"

[[upstream.recipients]]
domain = "own"
method = "connector"

[retry]
first = "30s"
longest = "20m"
age = "3d"
warning = "90m"

[keys]
tpm = "unix:/run/swtpm.sock"
protection = "file"

[spool]
size = "8MiB"
client_share = 25

[recipients]
allow = ["own"]

[[senders.map]]
from = "scanner@mfp.local"
to = "scanner@contoso.com"

[[device]]
address = "10.1.2.3"
name = "Canon"
refuse = true
tls = "required"
auth = "required"
sender = "canon@contoso.com"
senders = ["@contoso.com"]
recipients = ["own"]
tag = "lobby"
connections = 1
messages_per_minute = 2
message_size = "3MiB"
recipients_per_message = 4
spool_share = 5
silent_after = "26h"

[[device]]
mac = "00:1e:8f:12:34:56"

[state]
path = "/dev/mmcblk0p3"

[control]
socket = "/run/sealpost.sock"

[journal]
format = "json"
conversation = true
`

func TestParse_ReadsEveryKey(t *testing.T) {
	got, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Site: Site{Name: "Contoso Leeds", Alert: "alerts@msp.example"},
		Network: Network{
			Address:   HostAddress{netip.MustParsePrefix("192.168.10.25/24")},
			Gateway:   netip.MustParseAddr("192.168.10.1"),
			DNS:       []netip.Addr{netip.MustParseAddr("192.168.10.1"), netip.MustParseAddr("fd00::1")},
			NTP:       []Host{"ntp.contoso.com", "192.168.10.1"},
			HTTPSTime: []Host{"www.contoso.com"},
			Name:      "mailbox",
		},
		LAN: LAN{
			SMTP:     []Listen{":2525", "127.0.0.1:25", "[::1]:25"},
			SMTPS:    []Listen{},
			Allow:    []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00::/8")},
			Hostname: "relay.contoso.com",

			RequireTLS:  []netip.Prefix{netip.MustParsePrefix("192.168.10.0/25")},
			LegacyTLS:   []netip.Prefix{netip.MustParsePrefix("192.168.10.128/25")},
			RequireAuth: []netip.Prefix{netip.MustParsePrefix("fd00::/16")},
		},
		Limits: Limits{
			MessagesPerMinute: 60,
			MessageSize:       35e6, Recipients: 100, Line: 2000, Connections: 10, ConnectionsPerClient: 2,
			Memory: 64 << 20, Session: minutes(30), Idle: seconds(90), Transactions: 5,
		},
		Senders: Senders{AcceptedDomains: []Domain{"contoso.com", "contoso.co.uk"}, Default: "Printer@contoso.co.uk",
			Map: []Rewrite{{"scanner@mfp.local", "scanner@contoso.com"}}, Foreign: TreatmentRefuse, Empty: TreatmentKeep, From: TreatmentKeep},
		Recipients: Recipients{Allow: []RecipientPattern{RecipientsOwn}},
		Devices: []Device{{
			Address: AddressOrNetwork{netip.MustParsePrefix("10.1.2.3/32")}, Name: "Canon", Refuse: true, TLS: DeviceTLSRequired, Auth: DeviceAuthRequired,
			Sender: "canon@contoso.com", Senders: []SenderPattern{"@contoso.com"}, Recipients: []RecipientPattern{RecipientsOwn}, Tag: "lobby",
			Connections: 1, MessagesPerMinute: 2, MessageSize: 3 << 20, RecipientsPerMessage: 4, SpoolShare: 5, SilentAfter: hours(26),
		}, {MAC: "00:1e:8f:12:34:56"}},
		Upstream: Upstream{
			Method: Methods{MethodConnector}, Cloud: CloudGCCHigh, Hold: seconds(2), Connections: 3, Timeout: minutes(5),
			MessagesPerMinute: 30, RecipientsPerDay: 10000,
			DNS:       []netip.AddrPort{netip.MustParseAddrPort("192.168.10.1:53"), netip.MustParseAddrPort("[fd00::1]:5353")},
			Connector: Connector{Host: "127.0.0.1", Port: 2526, Roots: Roots{CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}},
			Submission: Submission{
				Host: "smtp.contoso.com", Port: 465, User: "Relay@contoso.com", SendAs: SendAsDefault,
				OwnMailbox: []SenderPattern{"Scanner@contoso.com", "@contoso.co.uk"}, Roots: Roots{CAFile: "/etc/smtp.pem"},
			},
			OAuth: OAuth{
				Tenant: "contoso.onmicrosoft.com", ClientID: "sealpost", Grant: GrantDevice, Key: KeyConnector,
				TokenURL: "https://issuer.contoso.com/token", DeviceURL: "https://issuer.contoso.com/device",
				Scopes: []string{"mail.send", "offline_access"}, Audience: "https://issuer.contoso.com", Algorithm: AlgorithmRS256,
				Roots: Roots{CA: "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"},
			},
			Recipients: []RecipientMethods{{Domain: DomainsOwn, Method: Methods{MethodConnector}}},
			Direct: Direct{
				Port: 2527, Resolver: "tls://dns.contoso.com@192.0.2.53:853", Roots: Roots{CAFile: "/etc/mx.pem"},
				DKIM:    DKIM{Domains: []Domain{"contoso.com"}, Selector: "relay-1", Algorithms: []DKIMAlgorithm{DKIMEd25519}},
				Domains: []DirectDomain{{Name: "fabrikam.com", TLS: DomainTLSEncrypt}},
			},
		},
		Retry:   Retry{First: seconds(30), Longest: minutes(20), Age: hours(72), Warning: minutes(90)},
		Keys:    Keys{TPM: "unix:/run/swtpm.sock", Protection: ProtectionFile},
		Spool:   Spool{Size: 8 << 20, ClientShare: 25},
		State:   State{Path: "/dev/mmcblk0p3"},
		Control: Control{Socket: "/run/sealpost.sock"},
		Journal: Journal{Format: FormatJSON, Conversation: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Every key must appear in the text above; otherwise the test above is incomplete.
func TestExample_NamesEveryKey(t *testing.T) {
	lines := map[string]int{}
	for key, line := range keyLines([]byte(everything)) {
		lines[elementIndex.ReplaceAllString(key, "")] = line
	}
	for _, key := range knownKeys("", reflect.TypeFor[Settings]()) {
		if lines[key] == 0 {
			t.Errorf("%s is not in the example", key)
		}
	}
}

func TestParse_FillsInDefaults(t *testing.T) {
	got, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Senders.AcceptedDomains = []Domain{"contoso.com"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.State.Path = "box.state"; got.ControlSocket() != "box.state.sock" {
		t.Errorf("control socket %q", got.ControlSocket())
	}
	if got.Upstream.Hold.Duration != 5*time.Second || got.Limits.MessageSize != 150<<20 {
		t.Errorf("hold %v, message size %v", got.Upstream.Hold, got.Limits.MessageSize)
	}
}

func TestParse_AcceptsTheDesignExample(t *testing.T) {
	const text = `[site]
name = "Contoso Leeds"
alert = "alerts@msp.example"
[lan]
smtp  = [":25", ":587"]          # plain + STARTTLS
smtps = [":465"]
allow = ["192.168.10.0/24"]
hostname = "relay.contoso.com"
[senders]
accepted_domains = ["contoso.com"]
default = "printer@contoso.com"
[upstream]
method = "connector"
hold = "5s"
[upstream.connector]
host = "contoso-com.mail.protection.outlook.com"
port = 25
ca_file = ""
[keys]
tpm = "/dev/tpmrm0"
protection = "tpm"
[spool]
size = "512MiB"
[state]
path = "box.state"
`
	for _, form := range []string{text, strings.ReplaceAll(text, "\n", "\r\n"), "\xef\xbb\xbf" + text} {
		if _, err := Parse([]byte(form)); err != nil {
			t.Error(err)
		}
	}
}

func TestSize_PrintsAsItIsRead(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "512MiB": 512 << 20, "500MB": 500e6, "16 KiB": 16 << 10, "3kB": 3000, "2TiB": 2 << 40, "7B": 7,
	} {
		var got, reparsed Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		if err := reparsed.UnmarshalText([]byte(got.String())); err != nil || reparsed != got {
			t.Errorf("%q prints as %q", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(everything))
	f.Add([]byte(submitting))
	f.Add([]byte("[lan]\nalow = [[[]]]\n"))
	f.Add([]byte("a.b.c.d = {e = {f = 1979-05-27}}\n[[site]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || err.Error() == "" {
				t.Fatalf("an error without a text: %#v", err)
			}
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("accepted settings do not validate: %v", err)
		}
		written, err := toml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		reparsed, err := Parse(written)
		if err != nil {
			t.Fatalf("accepted settings, written out, are refused: %v\n%s", err, written)
		}
		if rewritten, _ := toml.Marshal(reparsed); string(rewritten) != string(written) {
			t.Fatalf("%s\nbecame\n%s", written, rewritten)
		}
	})
}
