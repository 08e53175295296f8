package clock

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// agreement is the largest difference between servers that agree.
	agreement = 10 * time.Second
	// slack is how far before the past a server may be, because the stored time
	// came from a clock that drifts.
	slack = 5 * time.Minute
	// maxPowerOff is the longest time without power that one server is trusted for;
	// a longer one needs several servers.
	maxPowerOff = 3 * 365 * 24 * time.Hour
	minServers  = 3
)

// selectOffset returns the offset of the largest group of servers that agree, if it
// is plausible: more than half of those that answered, not in the past, and not too
// far in the future for their number.
func selectOffset(now, past time.Time, answers []answer) (time.Duration, string, error) {
	var said []answer
	var silent []string
	for _, a := range answers {
		if a.Err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", a.Server, a.Err))
			continue
		}
		said = append(said, a)
	}
	if len(said) == 0 {
		if len(silent) == 0 {
			return 0, "", errNoServer
		}
		return 0, "", fmt.Errorf("%w (%s)", errNoServer, strings.Join(silent, "; "))
	}
	group := largest(said)
	at := now.Add(group[0].Offset)
	switch from := names(group); {
	case 2*len(group) <= len(said):
		return 0, "", fmt.Errorf("the time servers disagree (%s): correct network.ntp, or set the clock on the console", claims(now, said))
	case at.Before(past.Add(-slack)):
		return 0, "", fmt.Errorf("%s says it is %s, but it was %s before: correct that server or network.ntp", from, day(at), day(past))
	case at.After(past.Add(maxPowerOff)) && independent(group) < minServers:
		return 0, "", fmt.Errorf("%s says it is %s, and the last time this box knew was %s: name %d servers in network.ntp if that is right, or set the clock on the console", from, day(at), day(past), minServers)
	default:
		return group[0].Offset, from, nil
	}
}

// largest returns the largest group of answers that agree with its middle one,
// which comes first.
func largest(said []answer) []answer {
	var best []answer
	for _, center := range said {
		group := []answer{center}
		for _, other := range said {
			if other.Server != center.Server && (other.Offset-center.Offset).Abs() <= agreement {
				group = append(group, other)
			}
		}
		if len(group) > len(best) {
			best = group
		}
	}
	return best
}

// independent returns the number of addresses that answered.
func independent(group []answer) int {
	addresses := map[string]bool{}
	for _, a := range group {
		addresses[a.Address] = true
	}
	return len(addresses)
}

func names(group []answer) string {
	var all []string
	for _, a := range group {
		all = append(all, a.Server)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func claims(now time.Time, said []answer) string {
	var all []string
	for _, a := range said {
		all = append(all, a.Server+": "+day(now.Add(a.Offset)))
	}
	return strings.Join(all, "; ")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// Plausible rejects a time that a person cannot have meant.
func Plausible(past, t time.Time) error {
	if t.Before(past.Add(-slack)) || t.After(past.Add(10*maxPowerOff)) {
		return errors.New("that time is before " + day(past) + " or decades after it: write the time in UTC, as 2026-11-21 09:30")
	}
	return nil
}
