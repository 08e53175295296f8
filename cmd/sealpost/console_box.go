package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"sealpost/hal/linux/board"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/console"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
)

// consoleBox is the box as its console sees it: the state, the first process,
// the relay, and commands of this program.
type consoleBox struct{ options *options }

// errNoMachine is the error of a call on a machine of its own.
var errNoMachine = errors.New("this is not an appliance: only a box that was started by sealpost init can tell or do this")

// machineCall has the first process carry out a call. While that is still
// starting it waits.
func machineCall[T any](ctx context.Context, patience time.Duration, call string, arguments url.Values) (value T, err error) {
	const pause = 250 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := control.Do(ctx, initSocket, call, arguments)
	if err != nil && !onAppliance() {
		return value, errNoMachine
	}
	for errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		select {
		case <-ctx.Done():
			return value, fmt.Errorf("the box's first process does not answer: restart the box: %w", err)
		case <-time.After(pause):
		}
		answer, err = control.Do(ctx, initSocket, call, arguments)
	}
	if err != nil {
		return value, err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(&value); err != nil {
		return value, fmt.Errorf("reading the answer to %s: %w", call, err)
	}
	return value, nil
}

// onAppliance tells whether this machine was started from an appliance's image.
func onAppliance() bool {
	_, err := os.Stat(board.FactsPath)
	return err == nil
}

// order has the first process do something. Who stops waiting calls it off, so
// the patience is long enough to erase a slow disk.
func order(ctx context.Context, call string, arguments url.Values) error {
	const patience = 5 * time.Minute
	_, err := machineCall[struct{}](ctx, patience, call, arguments)
	return err
}

// byConsole says in the journal who asked.
var byConsole = url.Values{"by": {"the console"}}

func (b consoleBox) Status(ctx context.Context) (console.Status, error) {
	const patience = 10 * time.Second
	s, err := machineCall[machineStatus](ctx, patience, "status", nil)
	if err != nil {
		return console.Status{}, err
	}
	status := console.Status{
		Model: cmp.Or(s.Model, s.Board), Serial: s.Serial, Version: s.Version, Uptime: s.Uptime, Memory: s.Memory, Free: s.Free, TrialLeft: s.Left, Relay: s.Unwell,
		Network: console.Network{Method: s.Network.Method, Addresses: s.Network.Addresses, Gateway: s.Network.Gateway, DNS: s.Network.DNS, Trouble: s.Network.Trouble},
	}
	if !s.Clock.Trusted {
		status.Clock = cmp.Or(s.Clock.Doubt, "it is not set yet: wait a minute, or set it by hand")
	}
	if s.Factory {
		status.Relay = "it does not run: this box is not set up, or cannot read its settings"
	} else if s.Ends > 0 {
		status.Relay = strings.TrimPrefix(fmt.Sprintf("%s; it ended by itself %d times, at last with: %s", s.Unwell, s.Ends, s.Last), "; ")
	}
	return status, nil
}

// withStore opens the settings area for one look.
func (b consoleBox) withStore(look func(candidate.Store) error) (err error) {
	device, err := existingState(settings.Settings{State: settings.State{Path: b.options.state}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	store, err := storeIn(device)
	if err != nil {
		return err
	}
	return look(store)
}

func (b consoleBox) Running(ctx context.Context) (running candidate.Running, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	err = b.withStore(func(store candidate.Store) (err error) {
		running, err = candidate.Load(ctx, store)
		return err
	})
	if err != nil && !errors.Is(err, candidate.ErrFactory) {
		err = inConsoleWords(err)
	}
	return running, err
}

func (b consoleBox) Unlock(ctx context.Context, digits string) (opens bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	err = b.withStore(func(store candidate.Store) (err error) {
		opens, err = candidate.Opens(ctx, store, digits)
		return err
	})
	return opens && err == nil, err
}

func (b consoleBox) Check(ctx context.Context, c candidate.Candidate) error {
	return b.apply(ctx, c, "--check")
}

// Commit stores the candidate and has the first process go by it. On a machine
// without one, the next relay does.
func (b consoleBox) Commit(ctx context.Context, c candidate.Candidate) error {
	if err := b.apply(ctx, c); err != nil {
		return err
	}
	if c.Settings == "" && c.PFX == nil && c.PEM == nil && c.ClientSecret == "" {
		return nil // a PIN alone concerns nobody else
	}
	err := order(ctx, "applied", nil)
	if errors.Is(err, errNoMachine) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("it is stored, but not in force yet: restart the box: %w", err)
	}
	b.awaitRelay(ctx)
	return nil
}

// awaitRelay gives a new relay the time to start; whether it has is for
// whoever asks it next.
func (b consoleBox) awaitRelay(ctx context.Context) {
	const patience, pause = 20 * time.Second, 250 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(pause) {
		if answer, err := control.Do(ctx, b.options.control, "health", nil); err == nil {
			_ = answer.Close()
			return
		}
	}
}

func (b consoleBox) Confirm(ctx context.Context) error  { return order(ctx, "confirm", nil) }
func (b consoleBox) GiveBack(ctx context.Context) error { return order(ctx, "giveback", nil) }
func (b consoleBox) Restart(ctx context.Context) error  { return order(ctx, "restart", byConsole) }

func (b consoleBox) FactoryReset(ctx context.Context) error { return order(ctx, "reset", byConsole) }

func (b consoleBox) SetClock(ctx context.Context, t time.Time) error {
	return order(ctx, "clock", url.Values{"time": {t.UTC().Format(time.RFC3339)}})
}

func (b consoleBox) Probe(ctx context.Context, t console.Target) (ways preflight.Ways, err error) {
	args := []string{"probe", "--json", "--domain=" + t.Domain, "--host=" + t.Host}
	if t.CA != "" {
		args = append(args, "--ca-file="+standardInput)
	}
	for ways, err = range linesOf[preflight.Ways](ctx, b.command(args...), t.CA) {
	}
	return ways, err
}

// Preflight has no error where there are findings: they say it all.
func (b consoleBox) Preflight(ctx context.Context) iter.Seq2[preflight.Finding, error] {
	return func(yield func(preflight.Finding, error) bool) {
		problems := false
		for finding, err := range linesOf[preflight.Finding](ctx, b.command("check", "--json"), "") {
			if err != nil && problems {
				return
			}
			finding.Words = consoleWords.Replace(finding.Words)
			problems = problems || finding.Level == certificate.Problem
			if !yield(finding, err) {
				return
			}
		}
	}
}

func (b consoleBox) SendTest(ctx context.Context, to string) iter.Seq2[console.Step, error] {
	return func(yield func(console.Step, error) bool) {
		for s, err := range linesOf[step](ctx, b.command("send-test", "--json", "--to="+to), "") {
			if !yield(console.Step{Name: s.Step, Words: consoleWords.Replace(s.Words)}, err) {
				return
			}
		}
	}
}

func (b consoleBox) Certificate(ctx context.Context) (string, error) {
	return textOf(ctx, b.command("certificate", "show"), "")
}

func (b consoleBox) Request(ctx context.Context, r console.Request) (string, error) {
	// The settings need not be in force yet, so they go with the request.
	args := append(b.command("certificate", "request", "--name="+r.Name), "--config="+standardInput)
	if r.Replace {
		args = append(args, "--replace")
	}
	return textOf(ctx, args, r.Settings)
}

// atRelay has the relay carry out a call.
func (b consoleBox) atRelay(ctx context.Context, call, id string, read func(*json.Decoder) error) error {
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := control.Do(ctx, b.options.control, call, url.Values{"id": {id}})
	if err != nil {
		return inConsoleWords(err)
	}
	defer answer.Close()
	return read(json.NewDecoder(io.LimitReader(answer, largestAnswer)))
}

func (b consoleBox) Retry(ctx context.Context) error {
	return b.atRelay(ctx, "queue/retry", "", func(*json.Decoder) error { return nil })
}

func (b consoleBox) Drop(ctx context.Context, id string) error {
	return b.atRelay(ctx, "queue/drop", id, func(*json.Decoder) error { return nil })
}
