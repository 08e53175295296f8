package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"sealpost/hal/linux/board"
	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/network"
	"sealpost/relay/control"
)

// machineStatus is how the machine is, for the box's other processes.
type machineStatus struct {
	Board   string         `json:"board"`
	Model   string         `json:"model,omitempty"`
	Serial  string         `json:"serial"`
	Version string         `json:"version"`
	Uptime  time.Duration  `json:"uptime"` // in nanoseconds
	Memory  int64          `json:"memory"` // in bytes
	Free    int64          `json:"free"`   // of it, in bytes
	Network network.Status `json:"network"`
	Clock   clockStatus    `json:"clock"`
	Factory bool           `json:"factory,omitempty"` // never set up
	Trial   bool           `json:"trial,omitempty"`   // settings wait to be confirmed
	Left    time.Duration  `json:"left,omitempty"`    // until they go back, in nanoseconds
	Unwell  string         `json:"unwell,omitempty"`  // why the relay is of no use
	Ends    int            `json:"ends,omitempty"`    // of relays that nobody asked to end
	Last    string         `json:"last,omitempty"`    // the last words of the last of them
}

type clockStatus struct {
	Trusted bool   `json:"trusted"`
	Doubt   string `json:"doubt,omitempty"`
}

// calls are what the console and the stick ask of the first process.
func (m *machine) calls() map[string]control.Call {
	return map[string]control.Call{
		"status": func(_ context.Context, _ url.Values, w io.Writer) error {
			return json.NewEncoder(w).Encode(m.status())
		},
		"applied": func(ctx context.Context, _ url.Values, w io.Writer) error { return finish(w, m.confirmed.Applied(ctx)) },
		"confirm": func(ctx context.Context, _ url.Values, w io.Writer) error { return finish(w, m.confirmed.Confirm(ctx)) },
		"giveback": func(ctx context.Context, _ url.Values, w io.Writer) error {
			return finish(w, m.confirmed.RollBack(ctx))
		},
		"clock": func(_ context.Context, a url.Values, w io.Writer) error {
			t, err := time.Parse(time.RFC3339, a.Get("time"))
			if err != nil {
				return fmt.Errorf("reading the time: %w", err)
			}
			return finish(w, m.setClock(t))
		},
		"restart": func(_ context.Context, a url.Values, w io.Writer) error { return finish(w, m.restart(a.Get("by"))) },
		"reset": func(ctx context.Context, a url.Values, w io.Writer) error {
			return finish(w, m.reset(ctx, a.Get("by")))
		},
	}
}

// finish writes that a call was carried out.
func finish(w io.Writer, err error) error {
	if err == nil {
		_, err = io.WriteString(w, "{}\n")
	}
	return err
}

func (m *machine) status() machineStatus {
	s := machineStatus{
		Board: m.facts.Name, Model: board.Model(), Serial: m.serial, Version: version, Uptime: kernel.Uptime(),
		Memory: kernel.Memory(), Free: kernel.FreeMemory(), Network: m.network.Status(), Clock: clockStatus{Trusted: clock.Trusted()},
	}
	if s.Trial, s.Left = m.confirmed.Trial(); s.Trial {
		s.Left = max(time.Second, s.Left)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Factory = m.settings == nil
	s.Unwell, s.Ends, s.Last = m.unwell, m.ends, m.last
	if !s.Clock.Trusted {
		s.Clock.Doubt = m.doubt
	}
	return s
}
