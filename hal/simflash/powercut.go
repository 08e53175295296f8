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
	unflushed := slices.Sorted(maps.Keys(f.pending))
	return func(yield func(*Flash) bool) {
		count := 0
		emit := func(choose func(versions int) int, torn *rand.Rand) bool {
			count++
			return yield(f.restarted(uint64(count), unflushed, choose, torn))
		}
		if total := f.combinations(unflushed, limit/2); total > 0 {
			for combination := range total {
				if !emit(chooser(combination), nil) {
					return
				}
			}
			// With nothing unflushed, there is no other combination.
			if total == 1 {
				return
			}
		} else if !emit(func(int) int { return 0 }, nil) || !emit(func(n int) int { return n - 1 }, nil) {
			return
		}
		random := rand.New(rand.NewPCG(f.seed, uint64(f.counts.Writes+f.counts.Flushes)))
		for count < limit {
			if !emit(random.IntN, random) {
				return
			}
		}
	}
}

// combinations counts the possible contents of the unflushed sectors; 0 means more than
// limit.
func (f *Flash) combinations(unflushed []int64, limit int) int {
	total := 1
	for _, n := range unflushed {
		total *= len(f.pending[n]) + 1
		if total > limit {
			return 0
		}
	}
	return total
}

// chooser returns a function that chooses the version of each sector for a combination.
func chooser(combination int) func(int) int {
	return func(versions int) int {
		digit := combination % versions
		combination /= versions
		return digit
	}
}

// restarted returns the flash after the cut. choose picks a version for each unflushed
// sector, of which 0 is the durable one. If torn is not nil, some sectors are torn.
func (f *Flash) restarted(number uint64, unflushed []int64, choose func(versions int) int, torn *rand.Rand) *Flash {
	next := New(f.size, f.seed*1_000_003+number)
	next.parent = f
	maps.Copy(next.bad, f.bad)
	for _, n := range unflushed {
		versions := append([]*sector{f.stored(n)}, f.pending[n]...)
		chosen := choose(len(versions))
		content := *versions[chosen]
		if torn != nil && chosen > 0 && torn.IntN(4) == 0 {
			tear := torn.IntN(SectorSize)
			copy(content[tear:], versions[chosen-1][tear:])
		}
		next.durable[n] = &content
	}
	return next
}
