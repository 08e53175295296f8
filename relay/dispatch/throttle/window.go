package throttle

import "time"

// window counts events over the last len(Counts) time slots.
type window struct {
	Slot   time.Duration `json:"slot"`
	Last   int64         `json:"last"` // the slot of the last count, in slots since 1970
	Counts []int         `json:"counts"`
}

// advance clears the slots that have passed. If the clock was set back by more
// than the window, all counts move to the current slot.
func (w *window) advance(now time.Time) {
	slot, size := now.UnixNano()/int64(w.Slot), int64(len(w.Counts))
	if slot+size < w.Last {
		total := 0
		for i, n := range w.Counts {
			total, w.Counts[i] = total+n, 0
		}
		w.Last, w.Counts[slot%size] = slot, total
	}
	for passed := min(slot-w.Last, size); passed > 0; passed-- {
		w.Counts[(slot-passed+1)%size] = 0
	}
	w.Last = max(w.Last, slot)
}

func (w *window) add(now time.Time, n int) {
	w.advance(now)
	w.Counts[w.Last%int64(len(w.Counts))] += n
}

// subtract undoes an add at that time, unless its slot has passed.
func (w *window) subtract(at time.Time, n int) {
	slot, size := at.UnixNano()/int64(w.Slot), int64(len(w.Counts))
	if slot <= w.Last && slot > w.Last-size {
		w.Counts[slot%size] = max(0, w.Counts[slot%size]-n)
	}
}

func (w *window) total(now time.Time) int {
	w.advance(now)
	total := 0
	for _, n := range w.Counts {
		total += n
	}
	return total
}

// retryAfter returns how long until the oldest count leaves the window.
func (w *window) retryAfter(now time.Time) time.Duration {
	w.advance(now)
	size := int64(len(w.Counts))
	for age := size - 1; age >= 0; age-- {
		if w.Counts[(w.Last-age+size)%size] > 0 {
			return time.Unix(0, (w.Last-age+size)*int64(w.Slot)).Sub(now)
		}
	}
	return 0
}
