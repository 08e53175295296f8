// Package settings is the technician's side of the box: the schema of
// sealpost.toml, its defaults, and every check that needs nothing but the text.
//
// It turns bytes into a value or into errors with line numbers. It knows no
// file, clock, network or TPM, and must not ask whether what the settings name
// exists: that is preflight's work.
package settings

import "net/netip"

// Settings is one sealpost.toml, complete: what the text leaves out has its
// default.
type Settings struct {
	Site     Site     `toml:"site"`
	Network  Network  `toml:"network"`
	LAN      LAN      `toml:"lan"`
	Limits   Limits   `toml:"limits"`
	Senders  Senders  `toml:"senders"`
	Upstream Upstream `toml:"upstream"`
	Retry    Retry    `toml:"retry"`
	Keys     Keys     `toml:"keys"`
	Spool    Spool    `toml:"spool"`
	State    State    `toml:"state"`
	Control  Control  `toml:"control"`
	Journal  Journal  `toml:"journal"`
}

// Site says where the box is and who is responsible for it.
type Site struct {
	// Name of the site, for people. Default: empty.
	Name string `toml:"name"`
	// Alert is the mail address that gets alerts. Default: empty, none.
	Alert Address `toml:"alert"`
}

// Network is how the appliance reaches the site's network. It means nothing
// on any other machine.
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
	// HTTPSTime lists HTTPS servers whose date tells a wrong time server from a right
	// one. Default: empty, meaning public ones.
	HTTPSTime []Host `toml:"https_time"`
	// Name is how the box is called on the network, also as NAME.local.
	// Default: "sealpost".
	Name Host `toml:"name"`
}

// LAN is what the devices at the site see.
type LAN struct {
	// SMTP lists listen addresses for plain SMTP with STARTTLS, as
	// "[address]:port". Default: ":25" and ":587".
	SMTP []Listen `toml:"smtp"`
	// SMTPS lists listen addresses for TLS from the first byte. Default: ":465".
	SMTPS []Listen `toml:"smtps"`
	// Allow lists the networks that may send. Default: empty, meaning the
	// box's own subnets.
	Allow []netip.Prefix `toml:"allow"`
	// Hostname is the name the box greets with. Default: empty, meaning the
	// machine's host name.
	Hostname Host `toml:"hostname"`
}

// Limits bounds everything on the LAN side that could grow.
type Limits struct {
	// MessageSize is the largest message, in bytes. Default: 150 MiB, which is
	// Exchange Online's own bound.
	MessageSize Size `toml:"message_size"`
	// Recipients is the most recipients of one message. Default: 500.
	Recipients int `toml:"recipients"`
	// Line is the longest line of a message, in bytes. Default: 16 KiB.
	Line Size `toml:"line"`
	// Connections is the most LAN connections at once. Default: 200.
	Connections int `toml:"connections"`
	// ConnectionsPerClient is the most connections at once from one address.
	// Default: 20.
	ConnectionsPerClient int `toml:"connections_per_client"`
	// Memory is the most RAM for messages in flight, in bytes; what does not fit
	// goes through the spool. Default: 256 MiB.
	Memory Size `toml:"memory"`
	// Session is the longest LAN session. Default: 1h.
	Session Duration `toml:"session"`
	// Idle is the longest silence of a LAN client. Default: 5m.
	Idle Duration `toml:"idle"`
	// Transactions is the most messages in one LAN session. Default: 10000.
	Transactions int `toml:"transactions"`
}

// Senders says in whose name mail may leave.
type Senders struct {
	// AcceptedDomains are the tenant's accepted domains, in lower case.
	// Required with the method "connector".
	AcceptedDomains []Domain `toml:"accepted_domains"`
	// Default is the sender if a device uses none or a foreign one; it is
	// in an accepted domain. Default: empty; see [Settings.DefaultSender].
	Default Address `toml:"default"`
}

// Upstream is the way out to Microsoft 365.
type Upstream struct {
	// Method is how mail leaves. Default: "connector".
	Method Method `toml:"method"`
	// Hold is how long a client waits for Exchange Online's answer before its
	// message goes to the spool. Default: 5s.
	Hold Duration `toml:"hold"`
	// Connections is the most connections to the upstream at once. Default: 4;
	// with the method "submission" 3.
	Connections int `toml:"connections"`
	// DNS lists name servers as "ip:port". Default: empty, meaning the system's.
	DNS []netip.AddrPort `toml:"dns"`
	// Timeout bounds one delivery attempt, beside the time that a large message
	// takes on a slow line. Default: 10m.
	Timeout Duration `toml:"timeout"`
	// MessagesPerMinute is the most messages sent in a minute; 0 = no fixed
	// limit; Sealpost still slows down when Exchange Online throttles it.
	// Default: 0; with the method "submission" 30.
	MessagesPerMinute int `toml:"messages_per_minute"`
	// RecipientsPerDay is the most recipients in 24 hours; 0 = no fixed limit.
	// Default: 0; with the method "submission" 10000.
	RecipientsPerDay int `toml:"recipients_per_day"`
	// Connector holds what only the method "connector" needs.
	Connector Connector `toml:"connector"`
	// Submission holds what only the method "submission" needs, and OAuth how
	// it gets its access token.
	Submission Submission `toml:"submission"`
	OAuth      OAuth      `toml:"oauth"`
}

// Connector is the tenant's host that takes mail on a client certificate.
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
	// CA is the text of such a file, for a box that has no files. Default: empty.
	CA PEM `toml:"ca"`
}

// Retry says how often a message that was not taken is tried again.
type Retry struct {
	// First is the first pause between two attempts. Default: 1m.
	First Duration `toml:"first"`
	// Longest is what the pauses grow to. Default: 1h.
	Longest Duration `toml:"longest"`
	// Age is after how long a message is given up. Default: 5d.
	Age Duration `toml:"age"`
	// Warning is after how long its sender hears of the delay. Default: 4h.
	Warning Duration `toml:"warning"`
}

// Keys says where private keys live.
type Keys struct {
	// TPM is the TPM's address. Default: "/dev/tpmrm0".
	TPM TPMAddress `toml:"tpm"`
	// Protection is what guards private keys and secrets. Default: "tpm".
	Protection Protection `toml:"protection"`
}

// Spool bounds the messages kept on flash.
type Spool struct {
	// Size of the ring in bytes, at least 8 MiB. Default: 512 MiB.
	Size Size `toml:"size"`
	// ClientShare is how much of the ring one client's mail may take, in percent.
	// Default: 50.
	ClientShare int `toml:"client_share"`
}

// State names the one file or block device the box keeps everything on.
type State struct {
	// Path of the file or block device. Default: empty, meaning box.state in the
	// folder that the service manager or the user keeps for state.
	Path string `toml:"path"`
}

// Control is how the other sealpost commands reach a running relay.
type Control struct {
	// Socket is a Unix socket's path. Default: empty, meaning the state path
	// with ".sock" behind it; see [Settings.ControlSocket].
	Socket string `toml:"socket"`
}

// Journal is the shape of the log.
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
		Upstream: Upstream{
			Method:      MethodConnector,
			Hold:        seconds(5),
			Connections: 4,
			Timeout:     minutes(10),
			Connector:   Connector{Port: 25},
			Submission:  Submission{Host: "smtp.office365.com", Port: 587, SendAs: SendAsBounce},
			OAuth:       OAuth{Grant: GrantCertificate, Key: KeyOwn, Algorithm: AlgorithmPS256},
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
