package clock

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	built = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	truth = built.AddDate(0, 0, 20)
)

func from(server string, start time.Time) response {
	return response{Server: server, Address: server, Start: start}
}

func alias(server string, start time.Time) response {
	return response{Server: server, Address: "10.0.0.1", Start: start}
}

func TestJudge_ChoosesTheTime(t *testing.T) {
	later := truth.AddDate(10, 0, 0)
	for _, c := range []struct {
		name           string
		servers, dates []response
		want           string // servers, or text in the error
		doubted        bool
	}{
		{"one right server", []response{from("a", truth)}, nil, "a", false},
		{"a second off", []response{from("a", truth), from("b", truth.Add(time.Second))}, nil, "a, b", false},
		{"one wrong server of three", []response{from("a", later), from("b", truth), from("c", truth)}, nil, "b, c", false},
		{"one against one", []response{from("a", later), from("b", truth)}, nil, "disagree", true},
		{"ten years ahead", []response{from("a", later)}, nil, "2036", true},
		{"ten years back", []response{from("a", truth.AddDate(-10, 0, 0))}, nil, "but it was 2026-11-01", true},
		{"1970", []response{from("a", time.Unix(0, 0))}, nil, "1970-01-01", true},
		{"a box ten years on a shelf", []response{from("a", later), from("b", later), from("c", later)}, nil, "a, b, c", false},
		{"one wrong server with three names", []response{alias("a", later), alias("b", later), alias("c", later)}, nil, "name 3 servers", true},
		{"a little before the program was built", []response{from("a", built.Add(-time.Minute))}, nil, "a", false},
		{"nobody", nil, nil, "no time server answers", true},
		{"silence", []response{{Server: "a", Err: errors.New("i/o timeout")}}, nil, "a: i/o timeout", true},
		{"a server named twice", []response{from("a", truth), from("a", truth)}, nil, "a", false},
		{"one right, one silent", []response{{Server: "a", Err: errors.New("x")}, from("b", truth)}, nil, "b", false},
		{"a date alone", nil, []response{from("h", later)}, "h", false},
		{"a date and a server that agrees", []response{from("a", truth)}, []response{from("h", truth.Add(time.Second))}, "a, h", false},
		{"a date against many wrong servers", []response{from("a", later), from("b", later), from("c", later)}, []response{from("h", truth)}, "h", false},
		{"a date of 1970 and a server", []response{from("a", truth)}, []response{from("h", time.Unix(0, 0))}, "a", false},
		{"two dates that disagree, and a server", []response{from("a", truth)}, []response{from("h", later), from("g", truth)}, "a", false},
	} {
		believed, err := newJudge(built, Record{}).decide(0, c.servers, c.dates)
		got := believed.from
		if err != nil {
			got = err.Error()
		}
		if (err != nil) != c.doubted || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %v from %q, %v, want %q", c.name, believed.start, believed.from, err, c.want)
		}
	}
}

// TestJudge_LetsBetterEvidenceCorrectAWrongTime has one server with a wrong time, and then
// each kind of better evidence with the right one.
func TestJudge_LetsBetterEvidenceCorrectAWrongTime(t *testing.T) {
	wrongTime := truth.AddDate(2, 11, 0)
	correct := []response{from("a", truth), from("b", truth), from("c", truth), from("d", truth)}
	for name, decide := range map[string]func(j *judge) error{
		"four right servers": func(j *judge) error { _, err := j.decide(time.Hour, correct, nil); return err },
		"an HTTPS server":    func(j *judge) error { _, err := j.decide(time.Hour, nil, correct[:1]); return err },
		"a person":           func(j *judge) error { return j.enter(truth.Add(time.Hour), time.Hour) },
		"a person who sets the clock back to the time of the program": func(j *judge) error { return j.enter(built, time.Hour) },
	} {
		for _, restarted := range []bool{false, true} {
			j := newJudge(built, Record{})
			if _, err := j.decide(0, []response{from("wrong", wrongTime)}, nil); err != nil {
				t.Fatal(err)
			}
			j.advance(time.Hour)
			if restarted {
				j = newJudge(built, Record{Floor: j.floor, Last: wrongTime})
			}
			if err := decide(j); err != nil {
				t.Errorf("%s, restarted %v: got %v, want the right time accepted", name, restarted, err)
			}
		}
	}
	j := newJudge(built, Record{})
	if _, err := j.decide(0, nil, correct[:1]); err != nil {
		t.Fatal(err)
	}
	// A server with a wrong time is not believed because it gave the right one before.
	if _, err := j.decide(time.Hour, []response{from("wrong", truth)}, nil); err != nil {
		t.Error(err)
	}
	if _, err := j.decide(2*time.Hour, []response{from("wrong", wrongTime)}, nil); err == nil || !strings.Contains(err.Error(), "according to a") {
		t.Errorf("a wrong server overruled an HTTPS server: got %v, want an error with %q", err, "according to a")
	}
}

func TestJudge_RejectsAnImplausibleTime(t *testing.T) {
	for at, ok := range map[time.Time]bool{built: true, truth: true, truth.AddDate(10, 0, 0): true, built.AddDate(-1, 0, 0): false, built.AddDate(100, 0, 0): false} {
		if err := newJudge(built, Record{}).enter(at, 0); (err == nil) != ok {
			t.Errorf("%v: got %v, want accepted %t", at, err, ok)
		}
	}
}

// TestJudge_AlwaysAcceptsTheRightTimeFromGoodEvidence simulates a box over years: servers with the
// right time, a wrong one or none, people who set the clock right or wrong, and
// restarts. Authenticated servers and people with the right time must always be
// believed, and after a restart three servers with the right time too.
func TestJudge_AlwaysAcceptsTheRightTimeFromGoodEvidence(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for simulation := range simulations {
		start := built.Add(time.Duration(random.Int64N(int64(3 * maxPowerOff)))) // the truth at the start of the run
		var now time.Duration
		j := newJudge(built, Record{})
		var stored Record
		var history []string
		record := func(format string, a ...any) { history = append(history, fmt.Sprintf(format, a...)) }
		for range random.IntN(20) {
			now += time.Duration(random.Int64N(int64(60 * 24 * time.Hour)))
			wrongTime := start.Add(time.Duration(random.Int64N(int64(2*maxPowerOff))) - maxPowerOff)
			var servers, dates []response
			for n := range random.IntN(5) {
				r := from(fmt.Sprint("s", n), start.Add(time.Duration(random.Int64N(int64(time.Second)))))
				switch random.IntN(3) {
				case 0:
					r.Start = wrongTime
				case 1:
					r.Err = errors.New("silent")
				}
				servers = append(servers, r)
			}
			if random.IntN(4) == 0 {
				dates = []response{from("h", start)}
			}
			switch random.IntN(4) {
			case 0:
				entered := start.Add(now)
				if random.IntN(2) == 0 {
					entered = wrongTime.Add(now)
				}
				err := j.enter(entered, now)
				record("%v: a person enters %v: %v", now, entered, err)
			case 1:
				j.advance(now)
				start, now = start.Add(now).Add(time.Duration(random.Int64N(int64(365*24*time.Hour)))), 0
				j = newJudge(built, stored)
				record("restart at %v, %v stored", start, stored)
			default:
				believed, err := j.decide(now, servers, dates)
				record("%v: responses %v and %v: got %v, %v", now, servers, dates, believed.start, err)
				if err == nil {
					stored = Record{Floor: j.floor, Last: believed.start.Add(now)}
				}
			}
			if j.floor.After(start.Add(j.at + slack)) {
				t.Fatalf("simulation %d: the floor is %v and the truth %v:\n%s", simulation, j.floor, start.Add(j.at), strings.Join(history, "\n"))
			}
		}
		correct := []response{from("a", start), from("b", start), from("c", start)}
		copied := *j
		if _, err := copied.decide(now, nil, correct[:1]); err != nil {
			t.Fatalf("simulation %d: an HTTPS server is refused: %v\n%s", simulation, err, strings.Join(history, "\n"))
		}
		copied = *j
		if err := copied.enter(start.Add(now), now); err != nil {
			t.Fatalf("simulation %d: a person is refused: %v\n%s", simulation, err, strings.Join(history, "\n"))
		}
		for i := range correct {
			correct[i].Start = start.Add(now)
		}
		if _, err := newJudge(built, stored).decide(0, correct, nil); err != nil {
			t.Fatalf("simulation %d: three right servers are refused after a restart: %v\n%s", simulation, err, strings.Join(history, "\n"))
		}
	}
}
