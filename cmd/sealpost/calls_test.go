package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/spoolkey"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
	"sealpost/relay/spool"
)

func TestAQueueThatIsAwaySaysWhyInTheList(t *testing.T) {
	r := &relay{dispatcher: dispatch.New(dispatch.Config{}, dispatch.Route{}, journal.Discard())}
	defer func() { _ = r.dispatcher.Close(context.Background()) }()
	r.dispatcher.SetQueueError(errors.New("TPM absent: check that it is fitted"))
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

func TestAnAnswerWithoutEndTakesNoMemoryWithoutEnd(t *testing.T) {
	socket, err := control.Listen(filepath.Join(t.TempDir(), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64
	server := control.New(journal.Discard(), map[string]control.Call{"queue/list": func(_ context.Context, _ url.Values, w io.Writer) error {
		for piece := []byte(`{"held":"`); ; piece = bytes.Repeat([]byte("x"), 64<<10) {
			n, err := w.Write(piece)
			if written.Add(int64(n)) > 4*largestAnswer || err != nil {
				return err
			}
		}
	}})
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	_, err = ask[dispatch.Status](t.Context(), socket.Addr().String(), "queue/list")
	_ = server.Close()
	<-served
	if err == nil || written.Load() > 2*largestAnswer {
		t.Errorf("%d bytes were taken, then %v", written.Load(), err)
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
