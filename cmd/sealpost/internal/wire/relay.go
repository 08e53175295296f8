package wire

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/confine"
	"sealpost/hal/linux/kernel"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/user"
	"sealpost/relay/body"
	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
	"sealpost/relay/lan"
	"sealpost/relay/server"
)

// Relay opens the parts of a running relay.
type Relay struct {
	*Box
	Journal *journal.Journal
	// Appliance is set if our PID 1 runs the machine: the relay confines itself,
	// waits for the clock and accepts mail from the box itself.
	Appliance bool
	// Readable are paths that a confined relay may read, files and directories.
	Readable []string

	hostname   string
	users      *user.Directory
	nullSender bool // every route relays mail with the null reverse-path
}

var _ server.Parts = (*Relay)(nil)

// Run runs the relay until ctx ends.
func (r *Relay) Run(ctx context.Context, version string) error {
	var err error
	if r.hostname, err = r.Hostname(); err != nil {
		return err
	}
	s := r.Settings
	r.users = r.Users(func(err error) { r.Journal.MachineFault("users", err) })
	config := server.Config{
		Users:    lanUsers(r.users),
		Version:  version,
		Method:   s.Upstream.Method.String(),
		Hostname: r.hostname,
		Socket:   s.ControlSocket(),
		SMTP:     texts(s.LAN.SMTP),
		SMTPS:    texts(s.LAN.SMTPS),
		Dispatch: dispatch.Config{
			ClientWait: s.Upstream.Hold.Duration,
			Timeout:    s.Upstream.Timeout.Duration,
			Memory:     body.NewBudget(r.memory()),
		},
		WatchTPM: s.Keys.Protection == settings.ProtectionTPM,
		Limits: lan.Limits{
			MessageSize:  int64(s.Limits.MessageSize),
			Recipients:   s.Limits.Recipients,
			Line:         int(s.Limits.Line),
			Connections:  s.Limits.Connections,
			PerClient:    s.Limits.ConnectionsPerClient,
			PerMinute:    s.Limits.MessagesPerMinute,
			Transactions: s.Limits.Transactions,
			Session:      s.Limits.Session.Duration,
			Idle:         s.Limits.Idle.Duration,
		},
	}
	if r.Appliance {
		config.ClockTrusted = clock.Trusted
	}
	return server.Run(ctx, config, r, r.Journal)
}

// texts converts values to strings.
func texts[T ~string](all []T) []string {
	var result []string
	for _, value := range all {
		result = append(result, string(value))
	}
	return result
}

// TPMTimeout is how long the start of an appliance's relay waits for the TPM.
const TPMTimeout = 3 * time.Second

// Confine implements [server.Parts]: on an appliance it restricts the relay to its
// state, its TPM and its ports. It waits for the TPM, which could not be added later.
// New settings restart the relay, and the new one uses their ports.
func (r *Relay) Confine() error {
	if !r.Appliance {
		return nil
	}
	// Go's resolver and listener read these.
	read := []string{"/etc/hosts", "/etc/nsswitch.conf", "/proc/sys/net/core/somaxconn"}
	rights := confine.Rights{ReadWrite: []string{r.Settings.State.Path}, Read: read, ReadIn: r.Readable}
	rights.Listen, rights.Connect = r.ports()
	if chip := string(r.Settings.Keys.TPM); filepath.IsAbs(chip) {
		_ = kernel.AwaitDevice(chip, TPMTimeout+time.Second)
		rights.ReadWrite = append(rights.ReadWrite, chip)
	}
	unsupported, err := confine.Enforce(rights)
	if unsupported != nil {
		r.Journal.MachineFault("confinement", unsupported)
	}
	return err
}

// EndListening implements [server.Parts], on an appliance.
func (r *Relay) EndListening() error {
	if !r.Appliance {
		return nil
	}
	return confine.ForbidListening()
}

// Routes implements [server.Parts].
func (r *Relay) Routes(ctx context.Context) ([]server.Route, error) {
	routes, err := r.Box.Routes(ctx, r.Journal)
	r.nullSender = !slices.ContainsFunc(routes, func(route server.Route) bool { return !route.Notify.NullSender })
	return routes, err
}

// OpenSpool implements [server.Parts]. Once the TPM has opened the spool's key, it
// also reports settings that were changed outside of the box.
func (r *Relay) OpenSpool(ctx context.Context) (*server.Storage, error) {
	opened, err := r.Box.OpenSpool(ctx)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, unsealTimeout)
		defer cancel()
		if foreign := r.Authentic(ctx); foreign != nil {
			r.Journal.SettingsForeign(foreign)
		}
	}
	return opened, err
}

// Temporary implements [server.Parts].
func (*Relay) Temporary(err error) bool { return Temporary(err) }

// Certificates implements [server.Parts].
func (r *Relay) Certificates(ctx context.Context) ([]tls.Certificate, error) {
	return r.lanCertificates(ctx, r.Journal)
}

// TPM implements [server.Parts].
func (r *Relay) TPM(ctx context.Context) (state, advice string) {
	found := r.Box.TPM.State(ctx)
	return string(found), found.Advice()
}

// memory returns the memory for messages in flight, in bytes; on an appliance at
// most a quarter of the machine's. What does not fit goes through the spool.
func (r *Relay) memory() int64 {
	limit := int64(r.Settings.Limits.Memory)
	if total := kernel.Memory(); r.Appliance && total > 0 {
		limit = min(limit, total/4)
	}
	return limit
}

// LogHandler returns the log handler that the settings require.
func LogHandler(s settings.Journal, w io.Writer) slog.Handler {
	if s.Format == settings.FormatJSON {
		return journal.JSON(w, s.Conversation)
	}
	return journal.Text(w, s.Conversation)
}
