package diagnose

import (
	"testing"
	"time"

	"sealpost/provisioning/settings"
)

// TestCheckTimeout_IsLongerThanWhatItContains tests the default and a long timeout of
// the upstream.
func TestCheckTimeout_IsLongerThanWhatItContains(t *testing.T) {
	s := settings.Default()
	for _, upstream := range []time.Duration{s.Upstream.Timeout.Duration, 10 * time.Minute} {
		s.Upstream.Timeout.Duration = upstream
		if got := checkTimeout(s); got <= upstream {
			t.Errorf("a check ends after %v, a connection after %v", got, upstream)
		}
	}
}
