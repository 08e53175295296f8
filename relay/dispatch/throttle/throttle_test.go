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

var hourly = Pauses{First: time.Minute, Longest: time.Hour}

func TestTheThrottleIsBoundedInMemoryAndOnFlash(t *testing.T) {
	l, now := New(Limits{Connections: 3, PerDay: 10_000}, hourly, maxMemo), time.Now()
	for i := range 10 * maxAccounts {
		a := l.Account(fmt.Sprintf("%s%d@contoso.com", strings.Repeat("x", 60), i), now)
		for hour := range 24 {
			a.AddRecipients(now.Add(time.Duration(hour-23)*time.Hour), 400+i)
		}
	}
	if len(l.accounts) > maxAccounts+1 {
		t.Errorf("%d accounts", len(l.accounts))
	}
	text := l.Memo(now)
	if len(text) == 0 || len(text) > maxMemo {
		t.Fatalf("a memo of %d octets", len(text))
	}
	again := New(l.limits, l.retry, maxMemo)
	again.Restore(text, now)
	if len(again.accounts) < 8 || again.Recipients(now) == 0 {
		t.Errorf("%d accounts come back, with %d recipients", len(again.accounts), again.Recipients(now))
	}
	for name, a := range again.accounts {
		if got, want := a.day.total(now), l.accounts[name].day.total(now); got != want {
			t.Errorf("%s has %d of %d", name, got, want)
		}
	}
	if later := l.Account("new@contoso.com", now.Add(48*time.Hour)); later == l.accounts[""] || len(l.accounts) > maxAccounts {
		t.Errorf("two days later %d accounts are left", len(l.accounts))
	}
}

func TestATimeNotedOnFlashIsKeptThoughTheClockIsSetBack(t *testing.T) {
	now := time.Now()
	a := newAccount("", Limits{Connections: 4}, hourly)
	a.connections = adaptiveLimit{1, now.Add(10 * 365 * day)}
	if n := a.Slots(now); n != 4 {
		t.Errorf("what is said to have been learned in ten years allows %d connections", n)
	}
}

func TestABreakerLetsOneProbeThroughWhenItsPauseIsOver(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	if !b.Allows(now) || b.Held() {
		t.Fatal("a new breaker holds mail back")
	}
	if !b.Trip(now, now, report.Configuration, "no connector", "") || b.Allows(now) {
		t.Fatalf("tripped, it holds %+v", b.Hold())
	}
	later := b.Hold().Until
	if !b.Allows(later) {
		t.Fatal("no probe is allowed when the pause is over")
	}
	b.Begin("probe")
	if b.Allows(later) {
		t.Error("a second probe is allowed beside the first")
	}
	b.End("another")
	if b.Allows(later) {
		t.Error("the end of another attempt was taken for the probe's")
	}
	b.End("probe")
	if !b.Allows(later) {
		t.Error("after a probe without a reply no other is allowed")
	}
	if !b.Succeeded(true) || b.Held() || b.Succeeded(true) {
		t.Error("a success is to reset the breaker once")
	}
}

func TestABlockedBreakerLetsNothingThroughUntilItIsUnblocked(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	b.Block(now, "clock", "nobody knows what time it is")
	b.ProbeNow(now)
	if b.Allows(now.Add(day)) || !b.Blocked() || b.RetryAfter(now, time.Hour) != time.Hour {
		t.Errorf("it holds %+v", b.Hold())
	}
	b.Unblock()
	if !b.Allows(now) || b.Blocked() {
		t.Errorf("then it holds %+v", b.Hold())
	}
}

func TestAFaultIsTheMessagesOwnWhereOthersWereTakenSince(t *testing.T) {
	b, now := NewBreaker(hourly), time.Now()
	for range 2 {
		if b.IsMessageFault("M1") {
			t.Error("it is blamed though nothing else was taken")
		}
	}
	b.Succeeded(true)
	if !b.IsMessageFault("M1") || b.IsMessageFault("M2") {
		t.Error("with another taken the fault is M1's own, and M2's not yet")
	}
	b.Trip(now, now, report.Blocked, "blocked", "")
	if b.IsMessageFault("M1") {
		t.Error("while mail is held back no message is blamed")
	}
	b.Reset()
	b.Forget("M1")
	if b.IsMessageFault("M1") {
		t.Error("a forgotten message is blamed")
	}
}

func TestThrottle_AsksForNoMemoAgainWhereNotAllFitIntoOne(t *testing.T) {
	const perDay, maxMemo = 10_000, 4096
	th, now := New(Limits{Connections: 3, PerDay: perDay}, Pauses{time.Second, time.Minute}, maxMemo), time.Now()
	for i := range 60 {
		th.Account(fmt.Sprintf("scanner-%02d-on-the-second-floor@contoso.com", i), now).AddRecipients(now, perDay/50)
	}
	if !th.MemoDue() {
		t.Fatal("nothing is to be saved")
	}
	if memo := th.Memo(now); len(memo) == 0 || len(memo) > maxMemo || th.MemoDue() {
		t.Errorf("a memo of %d octets; another is due: %v", len(memo), th.MemoDue())
	}
}
