package wire

import (
	"context"
	"fmt"
	"testing"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/spoolkey"
	"sealpost/relay/spool"
)

func TestTemporary_RecognizesTemporaryFaults(t *testing.T) {
	for _, c := range []struct {
		err       error
		temporary bool
	}{
		{&hal.TPMFault{Op: "unsealing", State: hal.TPMAbsent}, true},
		{&hal.TPMFault{Op: "unsealing", State: hal.TPMBusy}, true},
		{fmt.Errorf("waiting for the TPM's response: %w", context.DeadlineExceeded), true},
		{fmt.Errorf("the spool: %w", flash.ErrInUse), true},
		{fmt.Errorf("%w (%w)", spoolkey.ErrReplaced, &hal.TPMFault{Op: "unsealing", State: hal.TPMReplaced}), false},
		{spool.ErrForeign, false},
		{spool.ErrKey, false},
	} {
		if Temporary(c.err) != c.temporary {
			t.Errorf("%v: got temporary %t, want %t", c.err, !c.temporary, c.temporary)
		}
	}
}
