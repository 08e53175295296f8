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
	serve()   // starts it, and keeps it running
	unserve() // ends it, and starts it no more
	restart()
	serving() bool
	listen(addresses []string) // tells where it will listen
}

// networkControl brings the network up as the settings say.
type networkControl interface {
	apply(network.Config)
}

// configuration is the settings in force: it reads what is stored, and has the
// network and the relay go by it.
type configuration struct {
	*group
	storage *storage
	relay   relayControl
	network networkControl

	mu         sync.Mutex
	settings   *settings.Settings // nil in the factory state, and without any that can be used
	inForce    settings.Settings  // what of the stored settings could be read
	name       string             // of the box on the network
	unreadable bool               // the stored settings were, when last read
}

func newConfiguration(g *group, s *storage, r relayControl, n networkControl) *configuration {
	return &configuration{group: g, storage: s, relay: r, network: n, name: string(settings.Default().Network.Name)}
}

// Reload implements candidate.Applier: the network first, then a new relay that
// reads the settings too.
func (c *configuration) Reload(ctx context.Context) {
	stored := c.read(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.unreadable && c.relay.serving():
		// The relay that has read them before does better than none.
	case stored == nil:
		c.relay.unserve()
	case !c.relay.serving():
		c.relay.serve()
	default:
		c.relay.restart()
	}
}

// adopt reads the settings at the start, and ends the relay that was launched
// ahead where there are none.
func (c *configuration) adopt(ctx context.Context) {
	if c.read(ctx) == nil {
		c.relay.unserve()
	}
}

// read reads the stored settings and has the network go by them; nil in the
// factory state, and where this version cannot use them: then only their
// network is in force. Where they cannot be read those before stay.
func (c *configuration) read(ctx context.Context) *settings.Settings {
	stored, err := c.stored(ctx)
	unreadable := err != nil && !errors.Is(err, candidate.ErrFactory)
	if unreadable && c.storage.fault == nil {
		c.try("settings", err)
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
	c.inForce = stored.Settings
	c.name = string(stored.Network.Name)
	var addresses []string
	for _, address := range stored.LAN.SMTP {
		addresses = append(addresses, string(address))
	}
	c.relay.listen(addresses)
	c.network.apply(networkOf(stored.Settings))
	c.try("host name", kernel.SetHostname(c.name))
	return c.settings
}

// stored reads the settings that the box is to go by. Beside an error come
// those of an empty file, or what of the stored ones could be read.
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

// hostname is what the box is called on the network.
func (c *configuration) hostname() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name
}

// condition reports whether the box was never set up, and whether its settings
// could not be read.
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
	for _, server := range c.inForce.Network.HTTPSTime {
		names = append(names, string(server))
	}
	return names, wire.AllRoots(c.inForce)
}

func networkOf(s settings.Settings) network.Config {
	c := network.Config{Address: s.Network.Address.Prefix, Gateway: s.Network.Gateway, DNS: s.Network.DNS, Hostname: string(s.Network.Name)}
	for _, server := range s.Network.NTP {
		c.NTP = append(c.NTP, string(server))
	}
	return c
}
