package transport

import (
	"fmt"
	"testing"
	"time"
)

func names(hosts []Host) (text string) {
	for _, host := range hosts {
		text += host.Name
	}
	return text
}

func TestBackOff_PutsAFailedHostLastEachTimeForTwiceAsLong(t *testing.T) {
	hosts := []Host{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	b := newBackOff(time.Minute, 5*time.Minute)
	now := time.Now()
	for _, delay := range []time.Duration{1, 2, 4, 5, 5} {
		b.failed("a", now)
		if got := names(b.order(hosts, now.Add(delay*time.Minute-1))); got != "bca" {
			t.Errorf("before %d minutes: got %s, want bca", delay, got)
		}
		now = now.Add(delay * time.Minute)
		if got := names(b.order(hosts, now)); got != "abc" {
			t.Errorf("after %d minutes: got %s, want abc", delay, got)
		}
	}
	for _, host := range hosts {
		b.failed(host.Name, now)
	}
	if got := names(b.order(hosts, now)); got != "abc" {
		t.Errorf("if all failed: got %s, want abc", got)
	}
	b.succeeded("b")
	if got := names(b.order(hosts, now)); got != "bac" {
		t.Errorf("after a success of b: got %s, want bac", got)
	}
}

func TestBackOff_IsBounded(t *testing.T) {
	b, now := newBackOff(time.Minute, time.Hour), time.Now()
	for i := range 5000 {
		b.failed(fmt.Sprint(i), now)
	}
	if len(b.hosts) > 1000 {
		t.Errorf("got %d hosts, want at most 1000", len(b.hosts))
	}
	hosts := []Host{{Name: "later"}, {Name: "other"}}
	b.failed("later", now.Add(2*time.Minute))
	if got := names(b.order(hosts, now.Add(2*time.Minute))); got != "otherlater" {
		t.Error("hosts whose time is over displace new ones")
	}
	none := newBackOff(0, 0)
	none.failed("later", now)
	if got := names(none.order(hosts, now)); got != "laterother" {
		t.Errorf("without a delay: got %s", got)
	}
}
