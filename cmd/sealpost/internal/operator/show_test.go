package operator

import (
	"strings"
	"testing"
	"time"

	"sealpost/relay/dispatch"
)

func TestQueue_NamesHeldAccountsAndReasons(t *testing.T) {
	since := time.Date(2026, 11, 22, 10, 0, 0, 0, time.Local)
	hold := func(account string) dispatch.HoldStatus {
		return dispatch.HoldStatus{Account: account, Held: "configuration", Reason: "the login was refused", Since: since, Next: since.Add(time.Minute)}
	}
	route := func(name string, held dispatch.HoldStatus, accounts ...dispatch.HoldStatus) dispatch.RouteStatus {
		return dispatch.RouteStatus{Name: name, HoldStatus: held, Accounts: accounts}
	}
	for want, s := range map[string]dispatch.Status{
		"2 messages queued":                      {},
		"2 messages queued; no relay is running": {HoldStatus: dispatch.HoldStatus{Held: "stopped", Reason: "no relay is running"}},
		"mail cannot be queued: the TPM is out":  {Spool: "the TPM is out"},
		"2 messages queued; held since 10:00:00: the login was refused; next attempt at 10:01:00": {HoldStatus: hold("")},
		"2 messages queued; held since 10:00:00: the clock is not set":                            {HoldStatus: dispatch.HoldStatus{Held: "clock", Reason: "the clock is not set", Since: since}},
		"2 messages queued; the mail of a@contoso.com is held since 10:00:00: the login was refused; next attempt at 10:01:00; the mail of b@contoso.com is held": {
			Accounts: []dispatch.HoldStatus{hold("a@contoso.com"), hold("b@contoso.com")}},
		"2 messages queued; connector is held since 10:00:00: the login was refused; next attempt at 10:01:00; mail leaves by submission": {
			Routes: []dispatch.RouteStatus{route("connector", hold("")), route("submission", dispatch.HoldStatus{})}},
		"2 messages queued; connector is held since 10:00:00: the login was refused; next attempt at 10:01:00; submission is held since 10:00:00: ": {
			HoldStatus: hold(""), Routes: []dispatch.RouteStatus{route("connector", hold("")), route("submission", hold(""))}},
		"2 messages queued; the mail of a@contoso.com is held by submission since 10:00:00: ": {
			Routes: []dispatch.RouteStatus{route("connector", dispatch.HoldStatus{}), route("submission", dispatch.HoldStatus{}, hold("a@contoso.com"))}},
	} {
		if got, _ := Summary(s, 2); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestByTime_MergesTheJournalsOfTwoProcesses(t *testing.T) {
	got := byTime([]string{
		"time=2026-11-27T01:00:00.000Z level=INFO msg=board",
		"time=2026-11-27T01:00:09.000Z level=INFO msg=network",
		"time=2026-11-27T01:00:02.000Z level=INFO msg=started",
		"time=2026-11-27T01:00:09.000Z level=INFO msg=delivered",
	})
	want := []string{"board", "started", "network", "delivered"}
	for i, line := range got {
		if !strings.HasSuffix(line, "msg="+want[i]) {
			t.Errorf("got %q, want the order %v", got, want)
			break
		}
	}
}
