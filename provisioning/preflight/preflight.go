// Package preflight reports what would prevent delivery, and what to do about it,
// before the first message is sent.
//
// It turns facts into findings. It must not know how a fact is found out:
// sockets, TPMs and files belong to its caller.
package preflight

import (
	"context"
	"fmt"
	"iter"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
)

// Finding is one fact, with what to do about it if anything.
type Finding struct {
	Name  string            `json:"name"` // of the check, such as "clock"
	Level certificate.Level `json:"level"`
	Text  string            `json:"words"`
	// Code and Facts are those of the fault, if it has a code: a front end uses
	// them to append what to do.
	Code  fault.Code  `json:"code,omitempty"`
	Facts fault.Facts `json:"facts,omitempty"`
}

func (f Finding) String() string { return fmt.Sprintf("%-8s %-12s %s", f.Level, f.Name, f.Text) }

// WithCode returns the finding with the code of a fault.
func (f Finding) WithCode(code fault.Code) Finding {
	f.Code = code
	return f
}

// WithCure returns the finding with the front end's cure appended.
func (f Finding) WithCure(cures fault.Cures) Finding {
	f.Text = cures.Append(f.Text, f.Code, f.Facts)
	return f
}

// Check is one check.
type Check struct {
	Name string
	// Run returns the findings; the function Run fills in their names.
	Run func(context.Context) []Finding
	// Timeout is how long it may take, if that is longer than Run's.
	Timeout time.Duration
}

// Run runs the checks in turn. One that does not end within the timeout is reported
// as a problem, and the next one starts. The timeout must be longer than those of
// what the checks do, whose errors say more.
func Run(ctx context.Context, timeout time.Duration, checks []Check) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, check := range checks {
			for _, finding := range check.runWithTimeout(ctx, max(timeout, check.Timeout)) {
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

func (c Check) runWithTimeout(ctx context.Context, timeout time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := make(chan []Finding, 1)
	go func() { found <- c.Run(ctx) }()
	select {
	case findings := <-found:
		return findings
	case <-ctx.Done():
		return problem("this check did not end within %s: try again; if it fails again, restart the box", timeout)
	}
}

// ok, note and problem return one finding of that level.
func ok(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.OK, Text: fmt.Sprintf(format, args...)}}
}

func note(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.Note, Text: fmt.Sprintf(format, args...)}}
}

func problem(format string, args ...any) []Finding {
	return []Finding{{Level: certificate.Problem, Text: fmt.Sprintf(format, args...)}}
}

// Problem returns the findings for an error.
func Problem(err error) []Finding {
	var findings []Finding
	for _, f := range fault.List(err) {
		findings = append(findings, Finding{Level: certificate.Problem, Text: f.Text, Code: f.Code, Facts: f.Facts})
	}
	return findings
}
