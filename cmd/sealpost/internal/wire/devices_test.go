package wire

import (
	"fmt"
	"sync"
	"testing"

	"sealpost/provisioning/candidate"
)

// TestStoreDevices_AndCommitsDoNotDisturbEachOther stores devices as the relay does, while
// other processes commit settings that are based on what they have read.
func TestStoreDevices_AndCommitsDoNotDisturbEachOther(t *testing.T) {
	s := newState(t)
	const rounds = 30
	var both sync.WaitGroup
	both.Go(func() {
		relay := openAgain(t, s)
		for i := range rounds {
			if err := relay.StoreDevices(t.Context(), fmt.Appendf(nil, "devices %d", i)); err != nil {
				t.Error(err)
			}
		}
	})
	text := func(i int) string {
		return fmt.Sprintf("[keys]\nprotection = \"file\"\n[senders]\naccepted_domains = [\"contoso.com\"]\n[site]\nname = \"commit %d\"\n", i)
	}
	both.Go(func() {
		before := ""
		for i := range rounds {
			c := candidate.Candidate{Settings: text(i), Trial: i > 0}
			if i > 0 {
				c.Base = candidate.Version(before)
			}
			if err := openAgain(t, s).Checker().Commit(t.Context(), c); err != nil {
				t.Error(err)
			}
			before = c.Settings
		}
	})
	both.Wait()
	b := openAgain(t, s)
	devices, err := b.LoadDevices(t.Context())
	if err != nil || string(devices) != fmt.Sprintf("devices %d", rounds-1) {
		t.Errorf("got %q, %v, want the last devices", devices, err)
	}
	running, err := candidate.Load(t.Context(), b.Store)
	if err != nil || running.Settings != text(rounds-1) || !running.Trial {
		t.Errorf("got %q, on trial: %v, %v, want the last settings on trial", running.Settings, running.Trial, err)
	}
}
