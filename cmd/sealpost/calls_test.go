package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/spoolkey"
	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
	"sealpost/relay/spool"
)

func TestAQueueThatIsAwaySaysWhyInTheList(t *testing.T) {
	r := &relay{dispatcher: dispatch.New(dispatch.Config{}, nil, journal.Discard())}
	defer func() { _ = r.dispatcher.Close(context.Background()) }()
	r.dispatcher.Without(errors.New("TPM absent: check that it is fitted"))
	var answer bytes.Buffer
	if err := calls(r)["queue/list"](context.Background(), nil, &answer); err != nil {
		t.Errorf("the list breaks off: %v", err)
	}
	if !json.Valid(answer.Bytes()) {
		t.Errorf("got %s", &answer)
	}
	var out bytes.Buffer
	c := &cobra.Command{}
	c.SetOut(&out)
	if err := new(options).printQueue(c, &answer); err != nil || !strings.Contains(out.String(), "mail cannot be kept: TPM absent: check that it is fitted") {
		t.Errorf("printed %q, %v", &out, err)
	}
	for _, name := range []string{"queue/show", "queue/retry", "queue/drop", "spool/stat", "spool/verify"} {
		if err := calls(r)[name](context.Background(), map[string][]string{"id": {"X"}}, &out); err == nil || !strings.Contains(err.Error(), "TPM absent") {
			t.Errorf("%s says %v", name, err)
		}
	}
}

func TestASpoolIsTriedAgainWhereItsFaultMayPass(t *testing.T) {
	for _, c := range []struct {
		err  error
		pass bool
	}{
		{&hal.TPMFault{Op: "unsealing", State: hal.TPMAbsent}, true},
		{&hal.TPMFault{Op: "unsealing", State: hal.TPMBusy}, true},
		{fmt.Errorf("waiting for the TPM's answer: %w", context.DeadlineExceeded), true},
		{fmt.Errorf("the spool: %w", flash.ErrInUse), true},
		{fmt.Errorf("%w (%w)", spoolkey.ErrReplaced, &hal.TPMFault{Op: "unsealing", State: hal.TPMReplaced}), false},
		{spool.ErrForeign, false},
		{spool.ErrKey, false},
	} {
		if passes(c.err) != c.pass {
			t.Errorf("%v: %v", c.err, !c.pass)
		}
	}
}
