package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/smtp"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	startTLS bool // on the LAN side
}

func (r run) String() string {
	size, upstream := fmt.Sprintf("%d KiB", r.size>>10), "down"
	if r.size >= 1<<20 {
		size = fmt.Sprintf("%d MiB", r.size>>20)
	}
	if r.healthy {
		upstream = "healthy"
	}
	text := fmt.Sprintf("upstream %s, %s, %d client%s", upstream, size, r.clients, strings.Repeat("s", min(1, r.clients-1)))
	if r.startTLS {
		text += ", STARTTLS"
	}
	return text
}

// selectedRuns returns the runs that the options select.
func selectedRuns(o options) []run {
	const small = 4 << 10
	var all []run
	for _, healthy := range []bool{true, false} {
		for _, r := range []run{
			{small, 1, o.messages, healthy, false},
			{small, 20, o.messages, healthy, false},
			{small, 100, o.messages, healthy, false},
			{1 << 20, 10, large(o.messages), healthy, false},
			{small, 1, o.messages, healthy, true},
			{small, 20, o.messages, healthy, true},
			{1 << 20, 10, large(o.messages), healthy, true},
		} {
			// What STARTTLS costs does not depend on the upstream.
			if strings.Contains(r.String(), o.only) && (healthy || !r.startTLS) {
				all = append(all, r)
			}
		}
	}
	return all
}

// large returns the number of 1 MiB messages to send instead of small ones.
func large(messages int) int { return max(10, messages/10) }

// send sends messages to port, each over a connection of its own. It fails unless each
// reply is 250.
func (r run) send(ctx context.Context, port, messages int) error {
	const timeout = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.startTLS {
		return r.sendOverTLS(ctx, port, messages)
	}
	output, err := exec.CommandContext(ctx, "smtp-source", "-s", strconv.Itoa(min(r.clients, messages)), "-m", strconv.Itoa(messages),
		"-l", strconv.Itoa(r.size), "-f", sender, "-t", recipient, fmt.Sprintf("%s:%d", host, port)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sending: smtp-source: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(string(output)))
	}
	return nil
}

// sendOverTLS is send for what smtp-source cannot do: STARTTLS, with a full handshake for
// each connection, as devices do.
func (r run) sendOverTLS(ctx context.Context, port, messages int) error {
	body := []byte("From: " + sender + "\r\nSubject: load\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", r.size/80))
	var (
		remaining atomic.Int64
		clients   sync.WaitGroup
		failures  = make(chan error, r.clients)
	)
	remaining.Store(int64(messages))
	for range r.clients {
		clients.Go(func() {
			for remaining.Add(-1) >= 0 && ctx.Err() == nil {
				if err := sendOne(fmt.Sprintf("%s:%d", host, port), body); err != nil {
					failures <- fmt.Errorf("sending over TLS: %w", err)
					return
				}
			}
		})
	}
	clients.Wait()
	close(failures)
	return errors.Join(<-failures, ctx.Err())
}

// sendOne sends one message.
func sendOne(address string, body []byte) error {
	c, err := smtp.Dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Hello("device")
	if err == nil {
		err = c.StartTLS(&tls.Config{InsecureSkipVerify: true}) // devices do not check either
	}
	if err == nil {
		err = c.Mail(sender)
	}
	if err == nil {
		err = c.Rcpt(recipient)
	}
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	return errors.Join(w.Close(), c.Quit())
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
