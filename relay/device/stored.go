package device

import (
	"encoding/json"
	"fmt"
	"slices"

	"sealpost/relay/envelope"
)

// stored is the stored form.
type stored struct {
	Devices []Device `json:"devices"`
}

// maxStored is how much space the stored form may take, in octets.
const maxStored = 256 << 10

// NotStored says that what the last Encode returned could not be stored.
func (r *Registry) NotStored() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
}

// Encode returns the stored form of the registry, and false if nothing has changed since
// the last call. Of devices that do not fit, those are left out that makeRoom forgets first.
func (r *Registry) Encode() (text []byte, changed bool, err error) {
	r.mu.Lock()
	changed, r.changed = r.changed, false
	r.mu.Unlock()
	if !changed {
		return nil, false, nil
	}
	all := r.List()
	slices.SortStableFunc(all, func(a, b Device) int { return compareWorth(b, a) })
	for {
		if text, err = json.Marshal(stored{all}); err != nil {
			return nil, false, fmt.Errorf("encoding the devices: %w", err)
		}
		if len(text) <= maxStored {
			return text, true, nil
		}
		all = all[:len(all)-len(all)/8-1]
	}
}

// Restore adds the devices of a stored form that were not seen since. It fails if the
// form is damaged; nothing is added then.
func (r *Registry) Restore(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading the stored devices: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range s.Devices {
		key := envelope.ClientNetwork(d.Address)
		if !key.IsValid() || len(r.devices) >= maxDevices || r.devices[key] != nil {
			continue
		}
		r.devices[key] = &d
	}
	return nil
}
