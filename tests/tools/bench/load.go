package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The test mail. Nothing listens on closedPort: the network namespace has no other
// programs.
const (
	host       = "127.0.0.1"
	closedPort = 10027
	sender     = "printer@contoso.com"
	recipient  = "alice@fabrikam.example"
)

// run is a load and the state of the upstream.
type run struct {
	size     int // of a message, in bytes
	clients  int // concurrent
	messages int
	healthy  bool
}

func (r run) String() string {
	size, upstream := fmt.Sprintf("%d KiB", r.size>>10), "down"
	if r.size >= 1<<20 {
		size = fmt.Sprintf("%d MiB", r.size>>20)
	}
	if r.healthy {
		upstream = "healthy"
	}
	return fmt.Sprintf("upstream %s, %s, %d client%s", upstream, size, r.clients, strings.Repeat("s", min(1, r.clients-1)))
}

// selectedRuns returns the runs that the options select.
func selectedRuns(o options) []run {
	const small = 4 << 10
	var all []run
	for _, healthy := range []bool{true, false} {
		for _, r := range []run{
			{small, 1, o.messages, healthy},
			{small, 20, o.messages, healthy},
			{small, 100, o.messages, healthy},
			{1 << 20, 10, large(o.messages), healthy},
		} {
			if strings.Contains(r.String(), o.only) {
				all = append(all, r)
			}
		}
	}
	return all
}

// large returns the number of 1 MiB messages to send instead of small ones.
func large(messages int) int { return max(10, messages/10) }

// send sends messages to port by smtp-source. It fails unless each reply is 250.
func (r run) send(ctx context.Context, port, messages int) error {
	const timeout = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, "smtp-source", "-s", strconv.Itoa(min(r.clients, messages)), "-m", strconv.Itoa(messages),
		"-l", strconv.Itoa(r.size), "-f", sender, "-t", recipient, fmt.Sprintf("%s:%d", host, port)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sending: smtp-source: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(string(output)))
	}
	return nil
}

// await waits until a condition holds.
func await(ctx context.Context, what string, condition func() (bool, error)) error {
	const timeout = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("timeout after %s", timeout))
	defer cancel()
	for {
		met, err := condition()
		if met || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
