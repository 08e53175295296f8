package settings

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParse_NamesTheLineAndCureOfEachMistake(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"misspelt key", "[lan]\n\n\n\n\n\nalow = []\n", "line 7: unknown key lan.alow: did you mean lan.allow?"},
		{"misspelt section", "[lna]\nallow = []\n", "line 1: unknown key lna: did you mean lan?"},
		{"wrong case", "[LAN]\n", "line 1: unknown key LAN: did you mean lan?"},
		{"key without its section", "hold = \"5s\"\n", "line 1: unknown key hold: did you mean upstream.hold?"},
		{"key of another section", "[lan]\nhold = \"5s\"\n", "line 2: unknown key lan.hold: did you mean upstream.hold?"},
		{"unknown key without a similar one", "[site]\nxylophone = 1\n", "line 2: unknown key site.xylophone: remove it; there is no setting of that name"},
		{"dotted key", "lan.alow = []\n", "line 1: unknown key lan.alow: did you mean lan.allow?"},
		{"inline table", "[upstream]\nconnector = { host = \"a.example\",\n prt = 25 }\n", "line 3: unknown key upstream.connector.prt: did you mean upstream.connector.port?"},
		{"section as value", "lan = 5\n", "line 1: lan is a section: write it as [lan] with its keys on the lines below"},
		{"section as list of tables", "[[lan]]\n", "line 1: lan is a section: write it as [lan] with its keys on the lines below"},
		{"not TOML", "[site]\nname = Contoso\n", "line 2: the settings are not TOML: "},
		{"key twice", "[site]\nname = \"a\"\nname = \"b\"\n", "line 3: the settings are not TOML: "},
		{"number as text", "[limits]\nrecipients = \"500\"\n", "line 2: limits.recipients: must be a whole number, without quotes"},
		{"number too large", "[limits]\nrecipients = 5000000000\n", "line 2: limits.recipients: must be a whole number"},
		{"text as number", "[site]\nname = 5\n", "line 2: site.name: must be text in quotes"},
		{"boolean as text", "[journal]\nconversation = \"yes\"\n", "line 2: journal.conversation: must be true or false, without quotes"},
		{"list as text", "[lan]\nallow = \"192.168.0.0/24\"\n", "line 2: lan.allow: must be a list"},
		{"address for a network", "[lan]\nallow = [\"192.168.0.7\"]\n", "line 2: lan.allow: \"192.168.0.7\" has no prefix length: write \"192.168.0.7/32\""},
		{"network with host bits", "[lan]\nallow = [\"192.168.0.7/24\"]\n", "line 2: lan.allow: \"192.168.0.7/24\" is an address within a network: write \"192.168.0.0/24\""},
		{"whole internet", "[lan]\nallow = [\"0.0.0.0/0\"]\n", "line 2: lan.allow: \"0.0.0.0/0\" would allow the whole internet to send"},
		{"large public network", "[lan]\nallow = [\"10.0.0.0/8\", \"8.0.0.0/8\"]\n", "line 2: lan.allow lists 8.0.0.0/8, a large part of the internet"},
		{"mapped network", "[lan]\nallow = [\"::ffff:10.0.0.0/104\"]\n", "write it like \"192.168.10.0/24\""},
		{"no network", "[lan]\nallow = [\"office\"]\n", "line 2: lan.allow: \"office\" is not a network"},
		{"listener without port", "[lan]\nsmtp = [\"25\"]\n", "line 2: lan.smtp: \"25\" is not an address to listen on"},
		{"listener on port 65536", "[lan]\nsmtp = [\":65536\"]\n", "line 2: lan.smtp: \":65536\" is not an address to listen on"},
		{"listener twice", "[lan]\nsmtp = [\":25\"]\nsmtps = [\":25\"]\n", "line 3: lan.smtps lists \":25\" a second time"},
		{"no listener", "[lan]\nsmtp = []\nsmtps = []\n", "line 2: lan.smtp and lan.smtps are both empty"},
		{"host name is an address", "[lan]\nhostname = \"10.0.0.1\"\n", "line 2: lan.hostname is an address"},
		{"host name with underscore", "[lan]\nhostname = \"my_box\"\n", "line 2: lan.hostname: \"my_box\" is not a host name"},
		{"invisible character", "[lan]\nhostname = \"relay.contoso.com\u200e\"\n", "line 2: lan.hostname: \"relay.contoso.com\\u200e\" contains the invisible character U+200E"},
		{"alert not an address", "[site]\nalert = \"Bob <bob@msp.example>\"\n", "line 2: site.alert: \"Bob <bob@msp.example>\" is not a mail address"},
		{"size without number", "[spool]\nsize = \"MiB\"\n", "line 2: spool.size: \"MiB\" is not a size"},
		{"size unit unknown", "[spool]\nsize = \"512 megs\"\n", "line 2: spool.size: \"512 megs\" is not a size: write it like \"512MiB\""},
		{"size overflows", "[spool]\nsize = \"99999999999TiB\"\n", "line 2: spool.size: \"99999999999TiB\" is too large"},
		{"spool too small", "[spool]\nsize = \"1MiB\"\n", "line 2: spool.size is 1MiB: write at least 8MiB"},
		{"duration without unit", "[upstream]\nhold = \"5\"\n", "line 2: upstream.hold: \"5\" is not a duration: write it like \"5s\""},
		{"duration negative", "[upstream]\nhold = \"-5s\"\n", "line 2: upstream.hold must be more than zero"},
		{"limit zero", "[limits]\nmemory = 0\n", "line 2: limits.memory must be more than zero"},
		{"line too short", "[limits]\nline = \"1B\"\n", "line 2: limits.line is 1B: write a size from 998B to 1MiB"},
		{"message over the memory", "[limits]\nmessage_size = \"1GiB\"\n", "line 2: limits.message_size is 1GiB, limits.memory is 256MiB and half of spool.size 256MiB"},
		{"decreasing retry delays", "[retry]\nfirst = \"2h\"\n", "retry.longest is shorter than retry.first"},
		{"a client share of 0", "[spool]\nclient_share = 0\n", "line 2: spool.client_share is 0"},
		{"a negative rate", "[upstream]\nmessages_per_minute = -1\n", "line 2: upstream.messages_per_minute is -1"},
		{"a negative daily limit", "[upstream]\nrecipients_per_day = -1\n", "line 2: upstream.recipients_per_day is -1"},
		{"too many recipients", "[limits]\nrecipients = 20000\n", "line 2: limits.recipients is 20000"},
		{"socket over the state", "[state]\npath = \"box.state\"\n[control]\nsocket = \"./box.state\"\n", "line 4: control.socket is the same as state.path"},
		{"unknown method", "[upstream]\nmethod = \"smarthost\"\n", "line 2: upstream.method: \"smarthost\" is not a delivery method"},
		{"a resolver elsewhere", "[upstream.direct]\nresolver = \"192.168.10.1:53\"\n", "line 2: upstream.direct.resolver: \"192.168.10.1:53\" is not on this machine"},
		{"a resolver without a name", "[upstream.direct]\nresolver = \"tls://192.0.2.53:853\"\n", "is not a validating resolver"},
		{"a domain without TLS", "[[upstream.direct.domain]]\nname = \"a.com\"\n", "upstream.direct.domain[1].tls is empty"},
		{"a domain of TLS twice", "[[upstream.direct.domain]]\nname = \"a.com\"\ntls = \"may\"\n[[upstream.direct.domain]]\nname = \"A.com\"\ntls = \"verify\"\n", "line 5: upstream.direct.domain[2].name is a.com, as in a table above"},
		{"a domain's TLS", "[[upstream.direct.domain]]\nname = \"a.com\"\ntls = \"none\"\n", "\"none\" is not a value of tls: write \"verify\", \"encrypt\" or \"may\""},
		{"cloud unknown", "[upstream]\ncloud = \"gcc\"\n", "line 2: upstream.cloud: \"gcc\" is not a cloud: write \"global\", \"gcc-high\", \"dod\" or \"china\""},
		{"no DKIM algorithm", "[upstream.direct.dkim]\nalgorithms = []\n", "line 2: upstream.direct.dkim.algorithms is empty: write [\"rsa\"]"},
		{"a DKIM algorithm twice", "[upstream.direct.dkim]\nalgorithms = [\"rsa\", \"rsa\"]\n", "line 2: upstream.direct.dkim.algorithms lists an algorithm a second time"},
		{"DKIM algorithm unknown", "[upstream.direct.dkim]\nalgorithms = [\"dsa\"]\n", "upstream.direct.dkim.algorithms: \"dsa\" is not an algorithm of DKIM keys: write \"rsa\" or \"ed25519\""},
		{"selector with a dot", "[upstream.direct.dkim]\nselector = \"a.b\"\n", "line 2: upstream.direct.dkim.selector: \"a.b\" is not a selector"},
		{"long selector", "[upstream.direct.dkim]\nselector = \"" + strings.Repeat("x", 41) + "\"\n", "is not a selector"},
		{"method unknown", "[upstream]\nmethod = \"pigeon\"\n", "line 2: upstream.method: \"pigeon\" is not a delivery method"},
		{"name server without port", "[upstream]\ndns = [\"10.0.0.1\"]\n", "line 2: upstream.dns: \"10.0.0.1\" is not a name server: write it like"},
		{"own address without its network", "[network]\naddress = \"10.0.0.7\"\ndns = [\"10.0.0.1\"]\n", "line 2: network.address: \"10.0.0.7\" is not an address with its prefix length"},
		{"a network for the own address", "[network]\naddress = \"10.0.0.0/24\"\ndns = [\"10.0.0.1\"]\n", "line 2: network.address: \"10.0.0.0/24\" is not a host address"},
		{"a broadcast address for the own address", "[network]\naddress = \"10.0.0.255/24\"\ndns = [\"10.0.0.1\"]\n", "line 2: network.address: \"10.0.0.255/24\" is not a host address"},
		{"own address without name servers", "[network]\naddress = \"10.0.0.7/24\"\n", "network.dns is empty"},
		{"router elsewhere", "[network]\naddress = \"10.0.0.7/24\"\ngateway = \"10.0.1.1\"\ndns = [\"10.0.0.1\"]\n", "line 3: network.gateway is 10.0.1.1, which is not another machine in 10.0.0.0/24"},
		{"router with DHCP", "[network]\ngateway = \"10.0.1.1\"\n", "line 2: network.gateway is set without network.address"},
		{"router that is not an address", "[network]\naddress = \"10.0.0.7/24\"\ngateway = \"router\"\ndns = [\"10.0.0.1\"]\n", "line 3: network.gateway: \"router\" is not a host address"},
		{"name with a domain", "[network]\nname = \"box.local\"\n", "line 2: network.name contains a dot"},
		{"authority that is not PEM", "[upstream.connector]\nca = \"/etc/ca.pem\"\n", "line 2: upstream.connector.ca: does not hold certificates in PEM"},
		{"two authorities", "[upstream.connector]\nca_file = \"/etc/ca.pem\"\nca = \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\"\n", "line 3: upstream.connector.ca and upstream.connector.ca_file are both set"},
		{"port zero", "[upstream.connector]\nport = 0\n", "line 2: upstream.connector.port is 0"},
		{"tpm", "[keys]\ntpm = \"tpmrm0\"\n", "line 2: keys.tpm: \"tpmrm0\" is not the address of a TPM"},
		{"tpm without port", "[keys]\ntpm = \"tcp:localhost\"\n", "line 2: keys.tpm: \"tcp:localhost\" is not the address of a TPM"},
		{"protection", "[keys]\nprotection = \"none\"\n", "line 2: keys.protection: \"none\" is not a protection: write \"tpm\" or \"file\""},
		{"format", "[journal]\nformat = \"xml\"\n", "line 2: journal.format: \"xml\" is not a journal format"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text + "\n" + minimal))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one error for one mistake: %s", err)
			}
		})
	}
}

func TestParse_ExplainsSenderMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no settings", "", "senders.accepted_domains is empty: list the tenant's accepted domains"},
		{"direct, no settings", "[upstream]\nmethod = \"direct\"\n", "senders.accepted_domains is empty: list the domains of your senders"},
		{"empty section", "[senders]\n", "line 1: senders.accepted_domains is empty"},
		{"foreign default", "[senders]\naccepted_domains = [\"contoso.com\"]\ndefault = \"a@sub.contoso.com\"\n",
			"line 3: senders.default is in sub.contoso.com, which is not among senders.accepted_domains"},
		{"single label", "[senders]\naccepted_domains = [\"contoso\"]\n", "line 2: senders.accepted_domains: \"contoso\" is not a domain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse([]byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestParse_ReportsAllMistakesInLineOrder(t *testing.T) {
	_, err := Parse([]byte("[spool]\nsize = \"1MiB\"\n[lan]\nalow = []\nallow = [\"x\"]\n[senders]\naccepted_domains = [\"!\"]\n"))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatalf("%T is not Errors", err)
	}
	var keys []string
	for i, e := range all {
		keys = append(keys, e.Key)
		if i > 0 && e.Line < all[i-1].Line {
			t.Errorf("line %d after line %d", e.Line, all[i-1].Line)
		}
	}
	want := []string{"spool.size", "lan.alow", "lan.allow", "senders.accepted_domains"}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	var one Error
	if !errors.As(err, &one) || one.Line != 2 {
		t.Errorf("first single error %+v", one)
	}
}

func TestParse_RejectsTextThatIsNotSettings(t *testing.T) {
	if _, err := Parse(make([]byte, MaxText+1)); err == nil || !strings.Contains(err.Error(), "larger than 64KiB") {
		t.Errorf("too large: got %v, want an error with %q", err, "larger than 64KiB")
	}
	if _, err := Parse([]byte("\xff\xfe[\x00l\x00")); err == nil || !strings.Contains(err.Error(), "UTF-16") {
		t.Errorf("UTF-16: got %v, want an error with %q", err, "UTF-16")
	}
}

func TestErrors_ContainNoControlCharacters(t *testing.T) {
	for _, text := range []string{
		"\"\\u001b[2J\" = 1\n" + minimal,
		"[\"\\u001b[2J\"]\n" + minimal,
		"[site]\nname = \"\\u001b[2J\"\n" + minimal,
		"[lan]\nhostname = \"\\u001b\"\n" + minimal,
		"\x1b = 1\n",
	} {
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%q accepted", text)
		} else if strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%q contains an escape character", err)
		}
	}
}
