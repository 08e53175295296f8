package simflash

import (
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// PowerCut cuts the power, unless that has happened, and returns up to limit possible
// flashes after the next start. Each sector written since the last
// flush has its old content or that of any write since. If all combinations
// fit in half of limit, it returns all of them. Then it returns random ones with some
// torn sectors, which have the beginning of one version and the end of the previous
// one.
func (f *Flash) PowerCut(limit int) iter.Seq[*Flash] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	open := slices.Sorted(maps.Keys(f.pending))
	return func(yield func(*Flash) bool) {
		given := 0
		give := func(choose func(versions int) int, torn *rand.Rand) bool {
			given++
			return yield(f.restarted(uint64(given), open, choose, torn))
		}
		if total := f.combinations(open, limit/2); total > 0 {
			for combination := range total {
				if !give(digits(combination), nil) {
					return
				}
			}
			// With nothing unflushed there is nothing to leave to chance.
			if total == 1 {
				return
			}
		} else if !give(func(int) int { return 0 }, nil) || !give(func(n int) int { return n - 1 }, nil) {
			return
		}
		random := rand.New(rand.NewPCG(f.seed, uint64(f.counts.Writes+f.counts.Flushes)))
		for given < limit {
			if !give(random.IntN, random) {
				return
			}
		}
	}
}

// combinations counts what may be left of the open sectors; 0 means more than
// limit.
func (f *Flash) combinations(open []int64, limit int) int {
	total := 1
	for _, n := range open {
		total *= len(f.pending[n]) + 1
		if total > limit {
			return 0
		}
	}
	return total
}

// digits turns the number of a combination into one choice for each sector.
func digits(combination int) func(int) int {
	return func(versions int) int {
		digit := combination % versions
		combination /= versions
		return digit
	}
}

// restarted is the flash after the cut. choose picks a version for each open
// sector, 0 being the durable one; torn, if there is one, tears some of them.
func (f *Flash) restarted(number uint64, open []int64, choose func(versions int) int, torn *rand.Rand) *Flash {
	next := New(f.size, f.seed*1_000_003+number)
	next.parent = f
	maps.Copy(next.bad, f.bad)
	for _, n := range open {
		versions := append([]*sector{f.stored(n)}, f.pending[n]...)
		chosen := choose(len(versions))
		left := *versions[chosen]
		if torn != nil && chosen > 0 && torn.IntN(4) == 0 {
			tear := torn.IntN(SectorSize)
			copy(left[tear:], versions[chosen-1][tear:])
		}
		next.durable[n] = &left
	}
	return next
}
