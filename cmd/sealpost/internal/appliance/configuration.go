package appliance

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/network"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
)

// relayControl starts and stops the relay.
type relayControl interface {
	startServing() // starts it, and restarts it when it exits
	stopServing()  // stops it
	restart()
	serving() bool
	listen(addresses []string) // sets the addresses for its health check
}

// networkControl configures the network.
type networkControl interface {
	apply(network.Config)
}

// configuration reads the stored settings and applies them to the network and the
// relay.
type configuration struct {
	*group
	storage *storage
	relay   relayControl
	network networkControl

	mu         sync.Mutex
	settings   *settings.Settings // nil in the factory state, or if they cannot be used
	active     settings.Settings  // the stored settings as far as they can be read
	name       string             // host name of the box
	unreadable bool               // the stored settings could not be read last time
}

func newConfiguration(g *group, s *storage, r relayControl, n networkControl) *configuration {
	return &configuration{group: g, storage: s, relay: r, network: n, name: string(settings.Default().Network.Name)}
}

// Reload implements candidate.Applier: it configures the network and then starts a
// new relay, which reads the settings itself.
func (c *configuration) Reload(ctx context.Context) {
	stored := c.read(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.unreadable && c.relay.serving():
		// Keep the relay that is running with the previous settings.
	case stored == nil:
		c.relay.stopServing()
	case !c.relay.serving():
		c.relay.startServing()
	default:
		c.relay.restart()
	}
}

// adopt reads the settings at the start. If there are none, it stops the relay,
// which was launched early.
func (c *configuration) adopt(ctx context.Context) {
	if c.read(ctx) == nil {
		c.relay.stopServing()
	}
}

// read reads the stored settings and configures the network. It returns nil in the
// factory state, and if this version cannot use them: then only their network
// section is applied. If they cannot be read, the previous ones stay active.
func (c *configuration) read(ctx context.Context) *settings.Settings {
	stored, err := c.stored(ctx)
	unreadable := err != nil && !errors.Is(err, candidate.ErrFactory)
	if unreadable && c.storage.fault == nil {
		c.logFault("settings", err)
	}
	for _, ignored := range stored.Ignored {
		c.journal.SettingIgnored(ignored.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unreadable = unreadable; unreadable && c.settings != nil {
		return c.settings
	}
	if c.settings = nil; err == nil {
		c.settings = &stored.Settings
	}
	c.active = stored.Settings
	c.name = string(stored.Network.Name)
	var addresses []string
	for _, address := range stored.LAN.SMTP {
		addresses = append(addresses, string(address))
	}
	c.relay.listen(addresses)
	c.network.apply(networkOf(stored.Settings))
	c.logFault("host name", kernel.SetHostname(c.name))
	return c.settings
}

// stored reads the stored settings. With an error it returns the defaults, or what
// could be read.
func (c *configuration) stored(ctx context.Context) (settings.Stored, error) {
	nothing := settings.Stored{Settings: settings.Default()}
	if c.storage.fault != nil {
		return nothing, c.storage.fault
	}
	stored, err := candidate.LoadSettings(ctx, c.storage.store)
	if err != nil && fault.CodeOf(err) != fault.SettingsInvalid {
		return nothing, err
	}
	return stored, err
}

// hostname returns the box's host name.
func (c *configuration) hostname() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name
}

// condition reports whether the box is not set up, and whether its settings could
// not be read.
func (c *configuration) condition() (factory, unreadable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settings == nil, c.unreadable
}

// httpsTime returns the HTTPS servers of the settings whose date is asked for, and
// the authorities of the settings and the public ones.
func (c *configuration) httpsTime() ([]string, *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, server := range c.active.Network.HTTPSTime {
		names = append(names, string(server))
	}
	return names, wire.AllRoots(c.active)
}

func networkOf(s settings.Settings) network.Config {
	c := network.Config{Address: s.Network.Address.Prefix, Gateway: s.Network.Gateway, DNS: s.Network.DNS, Hostname: string(s.Network.Name)}
	for _, server := range s.Network.NTP {
		c.NTP = append(c.NTP, string(server))
	}
	return c
}
