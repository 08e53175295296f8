package operator

import (
	"testing"
	"time"
)

func TestDevice_IsAdoptableIfItSentOnlyInLearnMode(t *testing.T) {
	for name, c := range map[string]struct {
		device                Device
		adoptable, needsCheck bool
	}{
		"may send":                    {Device{Messages: 3, Allowed: true}, false, false},
		"sends in learn mode":         {Device{Messages: 3, Allowed: true, Learned: true}, true, true},
		"connects in learn mode":      {Device{Allowed: true, Learned: true}, false, true},
		"sent in an earlier one":      {Device{Messages: 3, Refusal: "554 5.7.1 no"}, true, true},
		"was only refused":            {Device{Refusal: "554 5.7.1 no"}, false, true},
		"is listed to be refused":     {Device{Messages: 3, Listed: true}, false, true},
		"may send, and fell silent":   {Device{Messages: 3, Allowed: true, Silent: time.Unix(1, 0)}, false, true},
		"may send, got 452 just now":  {Device{Messages: 3, Allowed: true, Refusal: "452 4.5.3 too many"}, false, true},
		"is listed, and may send":     {Device{Messages: 3, Allowed: true, Listed: true}, false, false},
		"is listed, has not sent yet": {Device{Allowed: true, Listed: true}, false, false},
	} {
		if c.device.Adoptable() != c.adoptable || c.device.NeedsAttention() != c.needsCheck {
			t.Errorf("%s: got %v, %v, want %v, %v", name, c.device.Adoptable(), c.device.NeedsAttention(), c.adoptable, c.needsCheck)
		}
	}
}

func TestSince_NamesTheLargestUnit(t *testing.T) {
	for age, want := range map[time.Duration]string{
		-time.Hour: "just now", 59 * time.Second: "just now", 61 * time.Second: "1 min ago", 59 * time.Minute: "59 min ago",
		61 * time.Minute: "1 h ago", 47*time.Hour + time.Minute: "47 h ago", 49 * time.Hour: "2 days ago",
	} {
		if got := Since(time.Now().Add(-age)); got != want {
			t.Errorf("%s: got %q, want %q", age, got, want)
		}
	}
	if got := Since(time.Time{}); got != "never" {
		t.Errorf("got %q, want never", got)
	}
}
