package transport

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestBackOff_HoldsAFailedHostEachTimeForTwiceAsLong(t *testing.T) {
	b := newBackOff(time.Minute, 5*time.Minute)
	now := time.Now()
	cause := errors.New("no route to host")
	for _, delay := range []time.Duration{1, 2, 4, 5, 5} {
		b.failed("mx", cause, now)
		held := (*HeldHost)(nil)
		if err := b.check("mx", now.Add(delay*time.Minute-1)); !errors.As(err, &held) || !errors.Is(err, cause) {
			t.Errorf("before %d minutes: got %v, want %v", delay, err, cause)
		}
		if err := b.check("other", now); err != nil {
			t.Errorf("another host: got %v", err)
		}
		now = now.Add(delay * time.Minute)
		if err := b.check("mx", now); err != nil {
			t.Errorf("after %d minutes: got %v", delay, err)
		}
	}
	b.failed("mx", cause, now)
	b.succeeded("mx")
	if err := b.check("mx", now); err != nil {
		t.Errorf("after a success: got %v", err)
	}
}

func TestBackOff_IsBounded(t *testing.T) {
	b, now := newBackOff(time.Minute, time.Hour), time.Now()
	for i := range 5000 {
		b.failed(fmt.Sprint(i), errors.New("dead"), now)
	}
	if len(b.hosts) > 1000 {
		t.Errorf("got %d hosts, want at most 1000", len(b.hosts))
	}
	b.failed("later", errors.New("dead"), now.Add(2*time.Minute))
	if b.check("later", now.Add(2*time.Minute)) == nil {
		t.Error("hosts whose time is over displace new ones")
	}
	none := newBackOff(0, 0)
	none.failed("mx", errors.New("dead"), now)
	if err := none.check("mx", now); err != nil {
		t.Errorf("without a delay: got %v", err)
	}
}
