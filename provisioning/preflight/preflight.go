// Package preflight says before the first message what would keep it from
// arriving, and what to do about it.
//
// It turns facts that were looked up into findings in words. It must not know
// how a fact is looked up: sockets, TPMs and files are its caller's.
package preflight

import (
	"context"
	"fmt"
	"iter"
	"time"

	"sealpost/provisioning/certificate"
)

// Finding is one fact in words that end in what to do, if there is anything.
type Finding struct {
	Name  string            `json:"name"` // of the check, such as "clock"
	Level certificate.Level `json:"level"`
	Words string            `json:"words"`
}

func (f Finding) String() string { return fmt.Sprintf("%-8s %-12s %s", f.Level, f.Name, f.Words) }

// Check is one look at the world.
type Check struct {
	Name string
	// Look gives what it found; its names are filled in.
	Look func(context.Context) []Finding
}

// patience is how long one check may take.
const patience = 45 * time.Second

// Run makes the checks in turn. One that does not end in time is a problem
// itself, and the next begins.
func Run(ctx context.Context, checks []Check) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, check := range checks {
			for _, finding := range check.within(ctx, patience) {
				finding.Name = check.Name
				if !yield(finding) {
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (c Check) within(ctx context.Context, patience time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := make(chan []Finding, 1)
	go func() { found <- c.Look(ctx) }()
	select {
	case findings := <-found:
		return findings
	case <-ctx.Done():
		return problem("this check did not end within %s: try again; if it stays so, restart the box", patience)
	}
}

// ok, note and problem make one finding of that level.
func ok(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.OK, Words: fmt.Sprintf(format, args...)}}
}

func note(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.Note, Words: fmt.Sprintf(format, args...)}}
}

func problem(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.Problem, Words: fmt.Sprintf(format, args...)}}
}

// Problem is the finding of a fact that could not be looked up.
func Problem(err error) []Finding { return problem("%v", err) }
