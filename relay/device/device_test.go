package device

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// site is a registry with a clock that the test sets.
type site struct {
	*Registry
	at time.Time
}

func newSite() *site {
	s := &site{at: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)} // a Monday
	s.Registry = New(func() time.Time { return s.at })
	return s
}

func (s *site) sends(address string) {
	s.Record(Observation{Client: netip.MustParseAddr(address), Messages: 1})
}

func byHabit(Device) time.Duration { return 0 }

func (s *site) silent(after func(Device) time.Duration) (addresses []string) {
	for _, d := range s.MarkSilent(after) {
		addresses = append(addresses, d.Address.String())
	}
	return addresses
}

func TestRecord_KeepsWhatWasSeen(t *testing.T) {
	s := newSite()
	client := netip.MustParseAddr("::ffff:192.168.10.20")
	s.Record(Observation{Client: client, MAC: "00:1e:8f:12:34:56", Hello: "MFP", TLS: "TLS 1.0", Login: "LOGIN", User: "scan", Quirks: []string{"a", "b"}, Messages: 1})
	s.at = s.at.Add(time.Hour)
	s.Record(Observation{Client: client, Quirks: []string{"b", "c"}, Refused: true, Refusal: "550 5.7.1 no"})
	want := Device{
		Address: netip.MustParseAddr("192.168.10.20"), MAC: "00:1e:8f:12:34:56", Vendor: "Canon", Hello: "MFP", TLS: "TLS 1.0", Login: "LOGIN", User: "scan",
		Quirks: []string{"a", "b", "c"}, First: s.at.Add(-time.Hour), Last: s.at, FirstSent: s.at.Add(-time.Hour), LastSent: s.at.Add(-time.Hour),
		Messages: 1, Refusals: 1, Refusal: "550 5.7.1 no",
	}
	got, _ := s.Find(client)
	got.Habit = Habit{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s.Record(Observation{Client: client, Messages: 1})
	if got, _ := s.Find(client); got.Refusal != "" || got.TLS != "" || got.Hello != "MFP" {
		t.Errorf("after a message in clear text: got %+v, want no refusal and no TLS", got)
	}
}

func TestRecord_IgnoresTheBoxsOwnCheck(t *testing.T) {
	s := newSite()
	for _, address := range []string{"127.0.0.1", "::ffff:127.0.0.1", "::1"} {
		s.Record(Observation{Client: netip.MustParseAddr(address)})
	}
	if _, changed, err := s.Encode(); len(s.List()) > 0 || changed || err != nil {
		t.Errorf("got %v, changed %v, %v", s.List(), changed, err)
	}
	s.Record(Observation{Client: netip.MustParseAddr("127.0.0.1"), Hello: "program"})
	s.Record(Observation{Client: netip.MustParseAddr("192.168.10.20")})
	if len(s.List()) != 2 {
		t.Errorf("got %v, want both", s.List())
	}
}

func TestRecord_IsBounded(t *testing.T) {
	s := newSite()
	s.sends("192.168.10.20")
	for i := range 3 * maxDevices {
		s.at = s.at.Add(time.Second)
		s.Record(Observation{Client: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Hello: strings.Repeat("x", 1000), Refused: true, Refusal: strings.Repeat("y", 1000)})
	}
	all := s.List()
	if len(all) != maxDevices {
		t.Errorf("got %d devices, want %d", len(all), maxDevices)
	}
	if _, found := s.Find(netip.MustParseAddr("192.168.10.20")); !found {
		t.Error("the device that sends was displaced by those that were refused")
	}
	for i := range 100 {
		s.Record(Observation{Client: netip.MustParseAddr("192.168.10.20"), Quirks: []string{fmt.Sprint(i)}})
	}
	if d, _ := s.Find(netip.MustParseAddr("192.168.10.20")); len(d.Quirks) > maxQuirks {
		t.Errorf("got %d quirks, want at most %d", len(d.Quirks), maxQuirks)
	}
	text, _, err := s.Encode()
	if err != nil || len(text) > maxStored {
		t.Errorf("got %d octets to store, %v, want at most %d", len(text), err, maxStored)
	}
}

// TestRecord_KeepsDevicesWithAHabit has a machine send one message from each of many
// addresses.
func TestRecord_KeepsDevicesWithAHabit(t *testing.T) {
	s := newSite()
	sendDaily(s, 7)
	for i := range 2 * maxDevices {
		s.at = s.at.Add(time.Second)
		s.sends(fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	if _, found := s.Find(netip.MustParseAddr("192.168.10.20")); !found {
		t.Error("the device that sends daily was displaced")
	}
}

// TestEncode_KeepsTheDevicesThatSend has clients that are refused and give as much text as
// they can, which is stored in its longest form.
func TestEncode_KeepsTheDevicesThatSend(t *testing.T) {
	s := newSite()
	s.sends("192.168.10.20")
	var quirks []string
	for i := range maxQuirks {
		quirks = append(quirks, fmt.Sprintf("%s %d", strings.Repeat("q", 60), i))
	}
	for i := range maxDevices {
		s.at = s.at.Add(time.Second)
		s.Record(Observation{Client: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Hello: strings.Repeat("\x1b\xff<", 100), Refused: true, Refusal: strings.Repeat("\x00", 1000), Quirks: quirks})
	}
	text, _, err := s.Encode()
	restored := New(func() time.Time { return s.at })
	if err != nil || restored.Restore(text) != nil || len(text) > maxStored {
		t.Fatalf("got %d octets, %v", len(text), err)
	}
	if len(restored.List()) == maxDevices {
		t.Fatal("all of them fit: the test needs longer texts")
	}
	if _, found := restored.Find(netip.MustParseAddr("192.168.10.20")); !found {
		t.Error("the device that sends was left out for those that were refused")
	}
	for _, d := range restored.List() {
		if strings.ContainsAny(d.Hello+d.Refusal, "\x00\x1b") || !utf8.ValidString(d.Hello) || len(d.Hello) > maxText {
			t.Fatalf("got %q, %q, want printable texts", d.Hello, d.Refusal)
		}
	}
}

func TestRecord_CountsIPv6ByTheNetwork(t *testing.T) {
	s := newSite()
	for i := range 100 {
		s.sends(fmt.Sprintf("fd00:1::%x", i+1))
	}
	if all := s.List(); len(all) != 1 || all[0].Messages != 100 {
		t.Errorf("got %+v, want one device with 100 messages", all)
	}
}

func TestSilent_ReportsADeviceThatSentDaily(t *testing.T) {
	for _, c := range []struct {
		name  string
		sends func(day time.Weekday) bool
		days  int
		want  int // hours of silence before the alert, from the last message; 0 = none
	}{
		{"every day", func(time.Weekday) bool { return true }, 21, 31},
		{"on working days", func(d time.Weekday) bool { return d != time.Saturday && d != time.Sunday }, 19, 91},
		{"since three days", func(time.Weekday) bool { return true }, 3, 0},
		{"on Mondays", func(d time.Weekday) bool { return d == time.Monday }, 28, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite()
			var last time.Time
			for range c.days {
				if c.sends(s.at.Weekday()) {
					s.sends("192.168.10.20")
					last = s.at
				}
				for range 24 {
					s.at = s.at.Add(time.Hour)
					if s.at.Sub(last) < 24*time.Hour && len(s.silent(byHabit)) > 0 {
						t.Fatalf("got an alert at %v, want none while it sends", s.at)
					}
				}
				if len(s.silent(byHabit)) > 0 {
					t.Fatalf("got an alert at %v, want none while it sends", s.at)
				}
			}
			got := 0
			for range 24 * 14 {
				if len(s.silent(byHabit)) > 0 {
					got = int(s.at.Sub(last).Hours())
					break
				}
				s.at = s.at.Add(time.Hour)
			}
			if c.want == 0 && got != 0 || c.want != 0 && (got < c.want-2 || got > c.want+2) {
				t.Errorf("got an alert after %d hours, want one after %d", got, c.want)
			}
			if len(s.silent(byHabit)) > 0 {
				t.Error("got a second alert, want one")
			}
		})
	}
}

func TestSilent_FollowsTheSettings(t *testing.T) {
	s := newSite()
	s.sends("192.168.10.20")
	twoHours := func(Device) time.Duration { return 2 * time.Hour }
	if s.at = s.at.Add(time.Hour); len(s.silent(twoHours)) > 0 {
		t.Error("after an hour: got an alert, want none")
	}
	if s.at = s.at.Add(time.Hour); !slices.Equal(s.silent(twoHours), []string{"192.168.10.20"}) {
		t.Error("after two hours: got no alert")
	}
	s.sends("192.168.10.20")
	if s.at = s.at.Add(3 * time.Hour); len(s.silent(twoHours)) != 1 {
		t.Error("silent again: got no alert")
	}
}

func TestSilent_DoesNotCountTheTimeBeforeTheStart(t *testing.T) {
	before := newSite()
	before.sends("192.168.10.20")
	text, _, err := before.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite()
	s.at = before.at.Add(10 * 24 * time.Hour)
	s.Registry = New(func() time.Time { return s.at })
	if err := s.Restore(text); err != nil {
		t.Fatal(err)
	}
	twoHours := func(Device) time.Duration { return 2 * time.Hour }
	if len(s.silent(twoHours)) > 0 {
		t.Error("at the start: got an alert, want none")
	}
	if s.at = s.at.Add(2 * time.Hour); len(s.silent(twoHours)) != 1 {
		t.Error("two hours after the start: got no alert")
	}
}

func TestEncode_IsRestored(t *testing.T) {
	s := newSite()
	s.sends("192.168.10.20")
	s.Record(Observation{Client: netip.MustParseAddr("192.168.10.21"), Refused: true, Refusal: "no"})
	text, changed, err := s.Encode()
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	if _, changed, _ := s.Encode(); changed {
		t.Error("the second time: got changes, want none")
	}
	restored := New(func() time.Time { return s.at })
	if err := restored.Restore(text); err != nil || !reflect.DeepEqual(restored.List(), s.List()) {
		t.Errorf("got %+v, %v, want %+v", restored.List(), err, s.List())
	}
	for _, damaged := range []string{"{", "[]", `{"devices":[{"address":"x"}]}`} {
		if err := New(time.Now).Restore([]byte(damaged)); err == nil {
			t.Errorf("%s: got no error", damaged)
		}
	}
	if err := New(time.Now).Restore(nil); err != nil {
		t.Error(err)
	}
}

func TestVendor_KnowsMakers(t *testing.T) {
	for mac, want := range map[string]string{"00:1e:8f:12:34:56": "Canon", "00:00:74:00:00:01": "Ricoh", "52:54:00:12:34:56": "", "": ""} {
		if got := Vendor(mac); got != want {
			t.Errorf("%q: got %q, want %q", mac, got, want)
		}
	}
}
