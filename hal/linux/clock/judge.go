package clock

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// agreement is how far apart two servers may be that agree.
	agreement = 10 * time.Second
	// slack is how far before the floor the time of a server may be.
	slack = 5 * time.Minute
	// maxPowerOff is the longest that a box may have been off if fewer than minServers
	// servers say so.
	maxPowerOff = 3 * 365 * 24 * time.Hour
	minServers  = 3
	// drift is the inverse of the largest error of the monotonic clock: a crystal
	// is ten times better.
	drift = 1000
	// farStep is a step that fewer than minServers servers do not decide before the
	// authenticated servers have had time to respond.
	farStep = 24 * time.Hour
)

// evidence is the reason to believe a time. Less evidence does not overrule more.
type evidence int

const (
	noEvidence    evidence = iota
	fewServers             // one or two time servers, which anybody on the LAN can forge
	person                 // entered by hand
	manyServers            // three or more time servers at different addresses
	authenticated          // an HTTPS server whose certificate is valid at that time
)

// console is where a person enters the time.
const console = "the console"

// Record is the time that a box stores.
type Record struct {
	// Floor is certainly in the past: the last authenticated time that another server
	// confirmed, plus what the monotonic clock measured since. Servers without
	// authentication cannot move it.
	Floor time.Time `json:"floor"`
	// Last is the last time that was believed. The clock starts from it, but no time is
	// judged by it.
	Last time.Time `json:"last"`
}

// judge decides which time to believe. It does not use the machine's clock, which the
// responses change. It represents every time by the corresponding time at the start,
// and by the time since the start on the monotonic clock.
type judge struct {
	built  time.Time // when the program was built; nothing is before it
	floor  time.Time
	at     time.Duration // of the floor, since the start
	belief belief
}

// belief is a claim that was believed.
type belief struct {
	claim
	at time.Duration // since the start
}

// claim is the time of a group of servers that agree.
type claim struct {
	evidence  evidence
	start     time.Time // the time at the start
	precision time.Duration
	from      string
	addresses int
}

func newJudge(built time.Time, stored Record) *judge {
	j := &judge{built: built, floor: built}
	if stored.Floor.After(built) {
		j.floor = stored.Floor
	}
	return j
}

// advance moves the floor by what the monotonic clock measured.
func (j *judge) advance(now time.Duration) {
	passed := now - j.at
	j.floor, j.at = j.floor.Add(passed-passed/drift), now
}

// decide returns the claim to believe, given the responses of time servers and of
// HTTPS servers. An error says why none is believed.
func (j *judge) decide(now time.Duration, servers, dates []response) (claim, error) {
	j.advance(now)
	byNTP, ntpErr := majority(now, servers)
	byHTTPS, httpsErr := majority(now, dates)
	if httpsErr == nil && !byHTTPS.start.Add(now).Before(j.built.Add(-slack)) {
		byHTTPS.evidence = authenticated
		confirmed := byHTTPS.addresses > 1
		if ntpErr == nil && byNTP.start.Sub(byHTTPS.start).Abs() <= agreement {
			// NTP is more exact.
			byHTTPS.start, byHTTPS.precision = byNTP.start, byNTP.precision
			byHTTPS.from, confirmed = byNTP.from+", "+byHTTPS.from, true
		}
		if t := byHTTPS.start.Add(now); t.Before(j.floor) || confirmed {
			j.floor = t.Add(-agreement)
		}
		j.belief = belief{byHTTPS, now}
		return byHTTPS, nil
	}
	if ntpErr == nil {
		ntpErr = j.doubt(byNTP, now)
	}
	if ntpErr != nil {
		return claim{}, ntpErr
	}
	if byNTP.evidence >= j.belief.evidence {
		j.belief = belief{byNTP, now}
	}
	return byNTP, nil
}

// doubt returns why unauthenticated servers are not believed.
func (j *judge) doubt(c claim, now time.Duration) error {
	t := c.start.Add(now)
	if t.Before(j.floor.Add(-slack)) {
		return fmt.Errorf("%s says it is %s, but it was %s before: correct that server or network.ntp, or set the clock on the console", c.from, minute(t), minute(j.floor))
	}
	if c.evidence == fewServers && t.After(j.floor.Add(maxPowerOff)) {
		return fmt.Errorf("%s says it is %s, and the last time this box knew was %s: name %d servers in network.ntp if that is right, or set the clock on the console", c.from, minute(t), minute(j.floor), minServers)
	}
	tolerance := agreement + (now-j.belief.at)/drift
	if c.evidence < j.belief.evidence && c.start.Sub(j.belief.start).Abs() > tolerance {
		return fmt.Errorf("%s says it is %s, but it is %s according to %s: correct that server or network.ntp, or set the clock on the console", c.from, minute(t), minute(j.belief.start.Add(now)), j.belief.from)
	}
	return nil
}

// enter sets the time that a person entered. It may be before the current one, but not
// before the program was built.
func (j *judge) enter(t time.Time, now time.Duration) error {
	const longest = 30 * 365 * 24 * time.Hour
	if t.Before(j.built.Add(-slack)) || t.After(j.built.Add(longest)) {
		return errors.New("that time is before this program was built, " + minute(j.built) + ", or decades after it: write the time in UTC, as 2026-11-21 09:30")
	}
	j.advance(now)
	if t.Before(j.floor) {
		j.floor = t
	}
	j.belief = belief{claim{evidence: person, start: t.Add(-now), from: console}, now}
	return nil
}

// majority returns the largest group of responses that agree, if it is more than half of
// the servers that responded.
func majority(now time.Duration, responses []response) (claim, error) {
	var valid []response
	var silent []string
	for _, r := range responses {
		if r.Err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", r.Server, r.Err))
			continue
		}
		valid = append(valid, r)
	}
	if len(valid) == 0 {
		if len(silent) == 0 {
			return claim{}, errNoServer
		}
		return claim{}, fmt.Errorf("%w (%s)", errNoServer, strings.Join(silent, "; "))
	}
	group := largest(valid)
	if 2*len(group) <= len(valid) {
		return claim{}, fmt.Errorf("the time servers disagree (%s): correct network.ntp, or set the clock on the console", claims(now, valid))
	}
	c := claim{fewServers, group[0].Start, group[0].Precision, names(group), addresses(group)}
	if c.addresses >= minServers {
		c.evidence = manyServers
	}
	return c, nil
}

// largest returns the largest group of responses that agree with its middle one, which
// comes first.
func largest(responses []response) []response {
	var best []response
	for i, center := range responses {
		group := []response{center}
		for k, other := range responses {
			if k != i && other.Start.Sub(center.Start).Abs() <= agreement {
				group = append(group, other)
			}
		}
		if len(group) > len(best) {
			best = group
		}
	}
	return best
}

// addresses counts the different addresses in a group: two names of one address count
// once.
func addresses(group []response) int {
	different := map[string]bool{}
	for _, r := range group {
		different[r.Address] = true
	}
	return len(different)
}

func names(group []response) string {
	var all []string
	for _, r := range group {
		all = append(all, r.Server)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func claims(now time.Duration, responses []response) string {
	var all []string
	for _, r := range responses {
		all = append(all, r.Server+": "+minute(r.Start.Add(now)))
	}
	return strings.Join(all, "; ")
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
