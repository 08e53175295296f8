package clock

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSelectOffset_ChoosesTheTimeToTrust(t *testing.T) {
	past := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(server string, t time.Time) answer {
		return answer{Server: server, Address: server, Offset: t.Sub(past)}
	}
	alias := func(server string, t time.Time) answer {
		return answer{Server: server, Address: "10.0.0.1", Offset: t.Sub(past)}
	}
	truth := past.Add(20 * 24 * time.Hour)
	later := truth.AddDate(10, 0, 0)
	for _, c := range []struct {
		name    string
		answers []answer
		want    string // servers, or words of the error
		doubted bool
	}{
		{"one honest server", []answer{at("a", truth)}, "a", false},
		{"a second off", []answer{at("a", truth), at("b", truth.Add(time.Second))}, "a, b", false},
		{"one liar among three", []answer{at("a", later), at("b", truth), at("c", truth)}, "b, c", false},
		{"one against one", []answer{at("a", later), at("b", truth)}, "disagree", true},
		{"ten years ahead", []answer{at("a", later)}, "2036", true},
		{"ten years back", []answer{at("a", truth.AddDate(-10, 0, 0))}, "but it was 2026-11-01", true},
		{"1970", []answer{at("a", time.Unix(0, 0))}, "1970-01-01", true},
		{"a box ten years on a maxPowerOff", []answer{at("a", later), at("b", later), at("c", later)}, "a, b, c", false},
		{"one liar with three names", []answer{alias("a", later), alias("b", later), alias("c", later)}, "name 3 servers", true},
		{"a little before the past", []answer{at("a", past.Add(-time.Minute))}, "a", false},
		{"nobody", nil, "no time server answers", true},
		{"silence", []answer{{Server: "a", Err: errors.New("i/o timeout")}}, "a: i/o timeout", true},
		{"one honest, one silent", []answer{{Server: "a", Err: errors.New("x")}, at("b", truth)}, "b", false},
	} {
		offset, from, err := selectOffset(past, past, c.answers)
		got := from
		if err != nil {
			got = err.Error()
		}
		if (err != nil) != c.doubted || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v from %q, %v", c.name, offset, from, err)
		}
		if err == nil && past.Add(offset).Before(past.Add(-slack)) {
			t.Errorf("%s: the clock would go to %v", c.name, past.Add(offset))
		}
	}
}

func TestPlausible_RefusesImplausibleTimes(t *testing.T) {
	past := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for at, ok := range map[time.Time]bool{past.Add(time.Hour): true, past.AddDate(10, 0, 0): true, past.AddDate(-1, 0, 0): false, past.AddDate(100, 0, 0): false} {
		if err := Plausible(past, at); (err == nil) != ok {
			t.Errorf("%v: %v", at, err)
		}
	}
}
