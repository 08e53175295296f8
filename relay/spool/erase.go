package spool

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"sealpost/hal"
)

// Erase zeroes a region, whatever it contains, so that Open formats it. A new key
// of the ring must be stored before. No Spool may be open on the region. After a
// power cut the old key opens the rest of the old ring, or Open fails with ErrKey or
// ErrForeign until Erase has completed.
func Erase(flash hal.Flash) error {
	g, err := geometryOf(flash.Size())
	if err != nil {
		return err
	}
	order := oldestFirst(flash, g)
	for _, segment := range order {
		if err := writeZeros(flash, segment*g.segment, pageSize); err != nil {
			return err
		}
	}
	return writeZeros(flash, 0, flash.Size())
}

// oldestFirst orders the segments by the highest epoch in each: if a removal
// were erased before its message, a power cut would restore the message. A page
// that cannot be read counts as epoch 0.
func oldestFirst(flash hal.Flash, g geometry) []int64 {
	order := make([]int64, g.count)
	epochs := make([]uint64, g.count)
	page := make([]byte, pageSize)
	for i := range order {
		order[i] = int64(i)
		for at := order[i] * g.segment; at < (order[i]+1)*g.segment; at += pageSize {
			if _, err := flash.ReadAt(page, at); err == nil {
				epochs[i] = max(epochs[i], headerEpoch(page), headerEpoch(page[headerCopy:]))
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int64) int { return cmp.Compare(epochs[a], epochs[b]) })
	return order
}

// headerEpoch returns the epoch in a header under any key, or 0 if there is
// none.
func headerEpoch(header []byte) uint64 {
	if !isHeader(header) {
		return 0
	}
	return binary.LittleEndian.Uint64(header[32:])
}

// writeZeros zeroes length bytes at at and flushes.
func writeZeros(flash hal.Flash, at, length int64) error {
	zeros := make([]byte, min(length, minSegment))
	for end := at + length; at < end; at += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), end-at)]
		if _, err := flash.WriteAt(zeros, at); err != nil {
			return fmt.Errorf("erasing %d bytes at %d: %w", len(zeros), at, err)
		}
	}
	if err := flash.Flush(); err != nil {
		return fmt.Errorf("erasing the spool: flushing: %w", err)
	}
	return nil
}
