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

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
)

// Finding is one fact in words that end in what to do, if there is anything.
type Finding struct {
	Name  string            `json:"name"` // of the check, such as "clock"
	Level certificate.Level `json:"level"`
	Words string            `json:"words"`
	// Code and Facts are those of the fault behind it, if there is one with a
	// code: by them a front end adds what to do.
	Code  fault.Code  `json:"code,omitempty"`
	Facts fault.Facts `json:"facts,omitempty"`
}

func (f Finding) String() string { return fmt.Sprintf("%-8s %-12s %s", f.Level, f.Name, f.Words) }

// Coded returns the finding with the code of a fault.
func (f Finding) Coded(code fault.Code) Finding {
	f.Code = code
	return f
}

// Said returns the finding with the front end's cure appended.
func (f Finding) Said(words fault.Words) Finding {
	f.Words = words.Append(f.Words, f.Code, f.Facts)
	return f
}

// Check is one look at the world.
type Check struct {
	Name string
	// Look returns the findings; Run fills in their names.
	Look func(context.Context) []Finding
}

// checkTimeout is how long one check may take.
const checkTimeout = 45 * time.Second

// Run makes the checks in turn. One that does not end in time is a problem
// itself, and the next begins.
func Run(ctx context.Context, checks []Check) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, check := range checks {
			for _, finding := range check.within(ctx, checkTimeout) {
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

func (c Check) within(ctx context.Context, timeout time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := make(chan []Finding, 1)
	go func() { found <- c.Look(ctx) }()
	select {
	case findings := <-found:
		return findings
	case <-ctx.Done():
		return problem("this check did not end within %s: try again; if it stays so, restart the box", timeout)
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
func Problem(err error) []Finding {
	var findings []Finding
	for _, f := range fault.List(err) {
		findings = append(findings, Finding{Level: certificate.Problem, Words: f.Text, Code: f.Code, Facts: f.Facts})
	}
	return findings
}
