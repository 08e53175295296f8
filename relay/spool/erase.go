package spool

import (
	"fmt"

	"sealpost/hal"
)

// Erase blanks a region for a new ring.
func Erase(flash hal.Flash) error {
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < flash.Size(); off += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), flash.Size()-off)]
		if _, err := flash.WriteAt(zeros, off); err != nil {
			return fmt.Errorf("blanking the spool at %d: %w", off, err)
		}
	}
	if err := flash.Flush(); err != nil {
		return fmt.Errorf("blanking the spool: %w", err)
	}
	return nil
}
