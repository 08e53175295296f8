// Package settings is the schema of sealpost.toml, its defaults, and every check
// that needs only the text.
//
// It turns bytes into a value or into errors with line numbers. It must not use
// files, the clock, the network or a TPM: package preflight checks whether what
// the settings name exists.
package settings

import "net/netip"

// Settings is a complete sealpost.toml: what the text omits has its default.
type Settings struct {
	Site       Site       `toml:"site"`
	Network    Network    `toml:"network"`
	LAN        LAN        `toml:"lan"`
	Limits     Limits     `toml:"limits"`
	Senders    Senders    `toml:"senders"`
	Recipients Recipients `toml:"recipients"`
	Devices    []Device   `toml:"device"`
	Upstream   Upstream   `toml:"upstream"`
	Retry      Retry      `toml:"retry"`
	Keys       Keys       `toml:"keys"`
	Spool      Spool      `toml:"spool"`
	State      State      `toml:"state"`
	Control    Control    `toml:"control"`
	Journal    Journal    `toml:"journal"`
}

// Site describes the site of the box.
type Site struct {
	// Name of the site, for people. Default: empty.
	Name string `toml:"name"`
	// Alert is the mail address that gets alerts. Default: empty, none.
	Alert Address `toml:"alert"`
}

// Network is the network configuration of the appliance. Other machines ignore
// it.
type Network struct {
	// Address is the box's own address with its prefix length, as
	// "192.168.10.25/24". Default: empty, meaning DHCP.
	Address HostAddress `toml:"address"`
	// Gateway is the router's address. Default: empty, none; with DHCP the
	// lease's.
	Gateway netip.Addr `toml:"gateway"`
	// DNS lists name servers. Default: empty, meaning the lease's.
	DNS []netip.Addr `toml:"dns"`
	// NTP lists time servers. Default: empty, meaning the lease's and then
	// public ones.
	NTP []Host `toml:"ntp"`
	// HTTPSTime lists HTTPS servers whose date exposes a wrong time server. Default: empty, meaning public ones.
	HTTPSTime []Host `toml:"https_time"`
	// Name is the box's host name on the network, also as NAME.local.
	// Default: "sealpost".
	Name Host `toml:"name"`
}

// LAN is the configuration of the SMTP server for the devices at the site.
type LAN struct {
	// SMTP lists listen addresses for plain SMTP with STARTTLS, as
	// "[address]:port". Default: ":25" and ":587".
	SMTP []Listen `toml:"smtp"`
	// SMTPS lists listen addresses for TLS from the first byte. Default: ":465".
	SMTPS []Listen `toml:"smtps"`
	// Allow lists the networks that may send. Default: empty, meaning the
	// box's own subnets.
	Allow []netip.Prefix `toml:"allow"`
	// RequireTLS lists the networks whose devices may not send in clear text.
	// Default: empty, none.
	RequireTLS []netip.Prefix `toml:"require_tls"`
	// LegacyTLS lists the networks whose devices may use TLS 1.0 and 1.1, and cipher
	// suites without forward secrecy. Default: empty, none.
	LegacyTLS []netip.Prefix `toml:"legacy_tls"`
	// RequireAuth lists the networks whose devices must log in. Default: empty, none.
	RequireAuth []netip.Prefix `toml:"require_auth"`
	// Hostname is the name in the greeting. Default: empty, meaning the
	// machine's host name.
	Hostname Host `toml:"hostname"`
}

// Limits are the limits of the LAN side.
type Limits struct {
	// MessageSize is the largest message, in bytes. Default: 150 MiB, which is
	// Exchange Online's own limit.
	MessageSize Size `toml:"message_size"`
	// Recipients is the maximum number of recipients of one message. Default: 500.
	Recipients int `toml:"recipients"`
	// Line is the longest line of a header, in bytes; a message with a longer one is
	// refused. Default: 16 KiB.
	Line Size `toml:"line"`
	// Connections is the maximum number of LAN connections at once. Default: 200.
	Connections int `toml:"connections"`
	// ConnectionsPerClient is the maximum number of connections at once from one address.
	// Default: 20.
	ConnectionsPerClient int `toml:"connections_per_client"`
	// MessagesPerMinute is the maximum number of messages from one address in a
	// minute. Default: 0, no limit.
	MessagesPerMinute int `toml:"messages_per_minute"`
	// Memory is the maximum RAM for messages in flight, in bytes; what does not fit
	// goes through the spool. Default: 256 MiB.
	Memory Size `toml:"memory"`
	// Session is the longest LAN session. Default: 1h.
	Session Duration `toml:"session"`
	// Idle is the longest silence of a LAN client. Default: 5m.
	Idle Duration `toml:"idle"`
	// Transactions is the maximum number of messages in one LAN session. Default: 10000.
	Transactions int `toml:"transactions"`
}

// Senders says which senders mail may have.
type Senders struct {
	// AcceptedDomains are the tenant's accepted domains, in lower case.
	// Required with the methods "connector" and "direct".
	AcceptedDomains []Domain `toml:"accepted_domains"`
	// Default is the sender for mail without a sender or from another domain; it
	// is in an accepted domain. Default: empty; see [Settings.DefaultSender].
	Default Address `toml:"default"`
	// Map replaces senders, before the other rules. Default: empty.
	Map []Rewrite `toml:"map"`
	// Foreign is what happens with a sender of another domain, and Empty with mail
	// without a sender. Default: "replace" if there is a default sender, else "keep".
	Foreign Treatment `toml:"foreign"`
	Empty   Treatment `toml:"empty"`
	// From is what happens with an author (the header field From) that the device may
	// not use as its sender. Default: "replace".
	From Treatment `toml:"from"`
}

// Upstream is how mail is sent to Microsoft 365.
type Upstream struct {
	// Method is the delivery method, or a list of them in the order of preference.
	// Default: "connector".
	Method Methods `toml:"method"`
	// Cloud is the Microsoft cloud that the tenant is in: it sets the hosts, the
	// scopes and PowerShell's environments. Default: "global".
	Cloud Cloud `toml:"cloud"`
	// Hold is how long a client waits for Exchange Online's reply before its
	// message is queued. Default: 5s.
	Hold Duration `toml:"hold"`
	// Connections is the maximum number of connections to the upstream at once. Default: 4;
	// with the method "submission" alone 3, with "direct" alone 10.
	Connections int `toml:"connections"`
	// DNS lists name servers as "ip:port". Default: empty, meaning the system's.
	DNS []netip.AddrPort `toml:"dns"`
	// Timeout limits one attempt, in addition to the time that a large message
	// takes on a slow line. Default: 10m.
	Timeout Duration `toml:"timeout"`
	// MessagesPerMinute is the maximum number of messages sent in a minute; 0 = no fixed
	// limit; Sealpost still slows down when Exchange Online throttles it.
	// Default: 0; with the method "submission" 30. See [Upstream.LimitsOf].
	MessagesPerMinute int `toml:"messages_per_minute"`
	// RecipientsPerDay is the maximum number of recipients in 24 hours; 0 = no fixed limit.
	// Default: 0; with the method "submission" 10000.
	RecipientsPerDay int `toml:"recipients_per_day"`
	// Connector is read only with the method "connector".
	Connector Connector `toml:"connector"`
	// Submission and OAuth, which says how to get an access token, are read only
	// with the method "submission".
	Submission Submission `toml:"submission"`
	OAuth      OAuth      `toml:"oauth"`
	// Recipients are domains of recipients whose mail leaves by some of the methods only.
	// Default: none.
	Recipients []RecipientMethods `toml:"recipients"`
	// Direct is read only with the method "direct".
	Direct Direct `toml:"direct"`
}

// Connector is the tenant's host that accepts mail with a client certificate.
type Connector struct {
	// Host is a name or an address. Default: empty, meaning the MX of the
	// first accepted domain.
	Host Host `toml:"host"`
	// Port is its TCP port. Default: 25.
	Port int `toml:"port"`
	Roots
}

// Roots are the certificates trusted for a server.
type Roots struct {
	// CAFile is a PEM file of root certificates. Default: empty, meaning the
	// roots in the binary.
	CAFile string `toml:"ca_file"`
	// CA is the content of such a file, for the appliance, which has no files.
	// Default: empty.
	CA PEM `toml:"ca"`
}

// Retry is the schedule of attempts for a queued message.
type Retry struct {
	// First is the delay before the first retry. Default: 1m.
	First Duration `toml:"first"`
	// Longest is the longest delay. Default: 1h.
	Longest Duration `toml:"longest"`
	// Age is when a message is returned to its sender. Default: 5d.
	Age Duration `toml:"age"`
	// Warning is when the sender gets a delay notification. Default: 4h.
	Warning Duration `toml:"warning"`
}

// Keys says where private keys are stored.
type Keys struct {
	// TPM is the TPM's address. Default: "/dev/tpmrm0".
	TPM TPMAddress `toml:"tpm"`
	// Protection is what protects private keys and secrets. Default: "tpm".
	Protection Protection `toml:"protection"`
}

// Spool is the size of the queue on flash.
type Spool struct {
	// Size of the ring in bytes, at least 8 MiB. Default: 512 MiB.
	Size Size `toml:"size"`
	// ClientShare is the share of the ring for one client's mail, in percent.
	// Default: 50.
	ClientShare int `toml:"client_share"`
}

// State is the file or block device that stores everything.
type State struct {
	// Path of the file or block device. Default: empty, meaning box.state in the
	// state folder of the service manager or of the user.
	Path string `toml:"path"`
}

// Control is how the other sealpost commands reach a running relay.
type Control struct {
	// Socket is the path of a Unix socket. Default: empty, meaning the state
	// path plus ".sock"; see [Settings.ControlSocket].
	Socket string `toml:"socket"`
}

// Journal is the configuration of the log.
type Journal struct {
	// Format is "text" or "json". Default: "text".
	Format Format `toml:"format"`
	// Conversation also logs the SMTP dialogue with the upstream. Default: false.
	Conversation bool `toml:"conversation"`
}

// MinSpoolSize is the smallest spool, in bytes.
const MinSpoolSize Size = 8 << 20

// Default returns the settings of an empty file. They lack the accepted
// domains, so they do not pass [Settings.Validate] by themselves.
func Default() Settings {
	return Settings{
		Network: Network{Name: "sealpost"},
		LAN:     LAN{SMTP: []Listen{":25", ":587"}, SMTPS: []Listen{":465"}},
		Limits: Limits{
			MessageSize:          150 << 20,
			Recipients:           500,
			Line:                 16 << 10,
			Connections:          200,
			ConnectionsPerClient: 20,
			Memory:               256 << 20,
			Session:              hours(1),
			Idle:                 minutes(5),
			Transactions:         10000,
		},
		Senders: Senders{From: TreatmentReplace},
		Upstream: Upstream{
			Method:      Methods{MethodConnector},
			Cloud:       CloudGlobal,
			Hold:        seconds(5),
			Connections: 4,
			Timeout:     minutes(10),
			Connector:   Connector{Port: 25},
			Submission:  Submission{Host: CloudGlobal.Services().Submission, Port: 587, SendAs: SendAsBounce},
			OAuth:       OAuth{Grant: GrantCertificate, Key: KeyOwn, Algorithm: AlgorithmPS256},
			Direct:      Direct{Port: 25, DKIM: DKIM{Selector: "sealpost", Algorithms: []DKIMAlgorithm{DKIMRSA, DKIMEd25519}}},
		},
		Retry:   Retry{First: minutes(1), Longest: hours(1), Age: hours(5 * 24), Warning: hours(4)},
		Keys:    Keys{TPM: "/dev/tpmrm0", Protection: ProtectionTPM},
		Spool:   Spool{Size: 512 << 20, ClientShare: 50},
		Journal: Journal{Format: FormatText},
	}
}

// ControlSocket is the path of the control socket, with its default filled in.
func (s Settings) ControlSocket() string {
	if s.Control.Socket != "" {
		return s.Control.Socket
	}
	return s.State.Path + ".sock"
}
