package throttle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/relay/report"
)

const (
	day     = 24 * time.Hour
	maxMemo = 4096
)

var hourly = Delays{First: time.Minute, Longest: time.Hour}

func TestThrottle_IsBoundedInMemoryAndOnFlash(t *testing.T) {
	th, now := New(Limits{Connections: 3, PerDay: 10_000}, hourly), time.Now()
	for i := range 10 * maxAccounts {
		a := th.Account(fmt.Sprintf("%s%d@contoso.com", strings.Repeat("x", 60), i), now)
		for hour := range 24 {
			a.AddRecipients(now.Add(time.Duration(hour-23)*time.Hour), 400+i)
		}
	}
	if len(th.accounts) > maxAccounts+1 {
		t.Errorf("got %d accounts, want at most 65", len(th.accounts))
	}
	text := th.Memo(now, maxMemo)
	if len(text) == 0 || len(text) > maxMemo {
		t.Fatalf("got a memo of %d octets, want 1 to 4096", len(text))
	}
	restored := New(th.limits, th.retry)
	restored.Restore(text, now)
	if len(restored.accounts) < 8 || restored.Recipients(now) == 0 {
		t.Errorf("restored: got %d accounts with %d recipients", len(restored.accounts), restored.Recipients(now))
	}
	for name, a := range restored.accounts {
		if got, want := a.day.total(now), th.accounts[name].day.total(now); got != want {
			t.Errorf("%s: got %d recipients, want %d", name, got, want)
		}
	}
	if later := th.Account("new@contoso.com", now.Add(48*time.Hour)); later == th.accounts[""] || len(th.accounts) > maxAccounts {
		t.Errorf("two days later: got %d accounts", len(th.accounts))
	}
}

func TestAdaptiveLimit_IgnoresATimeInTheFuture(t *testing.T) {
	now := time.Now()
	a := newAccount("", Limits{Connections: 4}, hourly)
	a.connections = adaptiveLimit{1, now.Add(10 * 365 * day)}
	if n := a.Slots(now); n != 4 {
		t.Errorf("got %d slots, want 4", n)
	}
}

func TestBreaker_AllowsOneProbeAfterThePause(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	if !b.Allows(now) || b.Held() {
		t.Fatal("new breaker: got mail held, want none")
	}
	if !b.Trip(now, now, report.Configuration, "no connector", "") || b.Allows(now) {
		t.Fatalf("after Trip: got %+v", b.Hold())
	}
	later := b.Hold().Until
	if !b.Allows(later) {
		t.Fatal("after the pause: got no probe allowed, want one")
	}
	b.Begin("probe")
	if b.Allows(later) {
		t.Error("during a probe: got a second one allowed, want none")
	}
	b.End("another")
	if b.Allows(later) {
		t.Error("after End of another attempt: got a second probe allowed, want none")
	}
	b.End("probe")
	if !b.Allows(later) {
		t.Error("after a probe without a reply: got no probe allowed, want one")
	}
	if !b.Succeeded(true) || b.Held() || b.Succeeded(true) {
		t.Error("Succeeded: got the breaker not reset or reset twice, want the breaker reset exactly once")
	}
}

func TestBreaker_AllowsNothingWhileBlocked(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	b.Block(now, "clock", "the time is unknown")
	b.ProbeNow(now)
	if b.Allows(now.Add(day)) || !b.Blocked() || b.RetryAfter(now, time.Hour) != time.Hour {
		t.Errorf("while blocked: got %+v", b.Hold())
	}
	b.Unblock()
	if !b.Allows(now) || b.Blocked() {
		t.Errorf("after Unblock: got %+v", b.Hold())
	}
}

func TestBreaker_RecognisesMessageFaults(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	for range 2 {
		if b.IsMessageFault(now, "M1", "from M1") {
			t.Error("M1: got message fault before another message was accepted")
		}
	}
	b.Succeeded(true)
	if !b.IsMessageFault(now, "M1", "from M1") || b.IsMessageFault(now, "M2", "from M2") {
		t.Error("after another message was accepted: got a message fault for M2 or none for M1, want M1 only")
	}
	b.Trip(now, now, report.Blocked, "blocked", "")
	if b.IsMessageFault(now, "M1", "from M1") {
		t.Error("got message fault while mail is held back")
	}
	b.Reset()
	b.Forget("M1")
	if !b.IsMessageFault(now, "M3", "from M1") {
		t.Error("got no message fault for another message of the same source")
	}
	if now = now.Add(2 * suspicionTime); b.IsMessageFault(now, "M4", "from M1") {
		t.Error("got message fault after the suspicion ended")
	}
	if b.Succeeded(true); !b.IsMessageFault(now, "M5", "from M1") {
		t.Error("got no message fault after another message was accepted again")
	}
}

func TestThrottle_IsNotDueForMemoWhenAccountsDoNotFit(t *testing.T) {
	const perDay, maxMemo = 10_000, 4096
	th, now := New(Limits{Connections: 3, PerDay: perDay}, Delays{time.Second, time.Minute}), time.Now()
	for i := range 60 {
		th.Account(fmt.Sprintf("scanner-%02d-on-the-second-floor@contoso.com", i), now).AddRecipients(now, perDay/50)
	}
	if !th.MemoDue() {
		t.Fatal("MemoDue: got false, want true")
	}
	if memo := th.Memo(now, maxMemo); len(memo) == 0 || len(memo) > maxMemo || th.MemoDue() {
		t.Errorf("got a memo of %d octets, MemoDue %v, want false", len(memo), th.MemoDue())
	}
}
