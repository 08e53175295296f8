package wire

import (
	"context"

	"sealpost/provisioning/state"
)

// sectionDevices is the section of the settings area with what the relay has seen of
// devices.
const sectionDevices = "devices"

// LoadDevices implements [server.Parts].
func (b *Box) LoadDevices(ctx context.Context) ([]byte, error) {
	sections, err := b.Store.Load(ctx)
	return sections[sectionDevices], err
}

// StoreDevices implements [server.Parts].
func (b *Box) StoreDevices(ctx context.Context, text []byte) error {
	return b.Store.Update(ctx, func(sections state.Sections) error {
		sections[sectionDevices] = text
		return nil
	})
}
