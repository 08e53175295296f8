// Package operator is what a person can ask of a box and have it do, whatever
// they sit at: the serial console, a web page and the command line have the
// same questions.
//
// It is an interface and its types. It must not know how a question is shown
// or how a box carries it out.
package operator

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/preflight"
)

// Box is what a person does things to. Its errors are faults (see hal/fault)
// where a person must act; the front end says what to do.
type Box interface {
	// Status reports how the box is.
	Status(ctx context.Context) (Status, error)
	// Running returns the settings in force, or candidate.ErrFactory.
	Running(ctx context.Context) (candidate.Running, error)
	// Unlock reports whether digits are the console's PIN.
	Unlock(ctx context.Context, digits string) (bool, error)

	// Check says what stands against a candidate, and changes nothing.
	Check(ctx context.Context, c candidate.Candidate) error
	// Commit makes the candidate the box's own, and puts it in force.
	Commit(ctx context.Context, c candidate.Candidate) error
	// Confirm makes settings on trial stay.
	Confirm(ctx context.Context) error
	// RollBack takes settings on trial out of force.
	RollBack(ctx context.Context) error

	// Probe tries the ways out of the site.
	Probe(ctx context.Context, target Target) (preflight.Ways, error)
	// Preflight says what would keep mail from arriving.
	Preflight(ctx context.Context) iter.Seq2[preflight.Finding, error]
	// SendTest sends a test message and follows it.
	SendTest(ctx context.Context, to string) iter.Seq2[Step, error]

	// Certificate describes the client certificate.
	Certificate(ctx context.Context) (string, error)
	// Request makes a key in the TPM and returns the request for its certificate
	// in PEM.
	Request(ctx context.Context, r Request) (string, error)

	// TenantScript returns the PowerShell that configures the tenant for the box.
	TenantScript(ctx context.Context) (string, error)
	// TenantCertificate returns the certificate that signs for tokens, in PEM.
	TenantCertificate(ctx context.Context) (string, error)
	// SignIn tells where a person signs the box in, and ends when that is done.
	SignIn(ctx context.Context) iter.Seq2[Step, error]
	// VerifyTenant checks each step to the mailbox up to the first problem.
	VerifyTenant(ctx context.Context) iter.Seq2[preflight.Finding, error]

	// Messages reports what became of the last messages, a line each.
	Messages(ctx context.Context) ([]string, error)
	// Queue lists the mail that waits.
	Queue(ctx context.Context) (Queue, error)
	// Retry has every message tried now.
	Retry(ctx context.Context) error
	// Drop throws the message of this ID away.
	Drop(ctx context.Context, id string) error
	// Logs returns the last lines of the box's log.
	Logs(ctx context.Context) ([]string, error)

	// SetClock takes the time from a person.
	SetClock(ctx context.Context, t time.Time) error
	// Restart restarts the box.
	Restart(ctx context.Context) error
	// FactoryReset erases everything that was stored, and restarts the box.
	FactoryReset(ctx context.Context) error
}

// Status is how the box is.
type Status struct {
	Model, Serial, Version string
	Uptime                 time.Duration
	// Memory is how much the box has, Free how much of it a program could still
	// have, in bytes; zero where it is not known.
	Memory, Free int64
	Network      Network
	// Clock says why the clock is not trusted; empty if it is.
	Clock string
	// Relay says why the relay is of no use; empty if it is.
	Relay string
	// TrialLeft is when settings on trial go back; zero without a trial.
	TrialLeft time.Duration
	// Storage is why what was stored cannot be used; nil where it can.
	Storage error
}

// Network is how the box is on the network.
type Network struct {
	Method    string // such as "dhcp"
	Addresses []netip.Prefix
	Gateway   netip.Addr
	DNS       []netip.Addr
	Trouble   string // in words; empty while all is well
}

// Target is what the ways out are to lead to.
type Target struct {
	Domain string // whose MX it is
	Host   string // instead of the MX; empty for none
	CA     string // PEM of the trusted certificates; empty for the public authorities
}

// Request says for what a certificate is requested.
type Request struct {
	Settings string // the text of a sealpost.toml, in force or not
	Name     string // the host name
	// Replace deletes a pending request and its key.
	Replace bool
}

// Step is one step of a message or of a sign-in, in words.
type Step struct {
	Name  string `json:"step"` // such as "delivered"
	Words string `json:"words"`
}

func (s Step) String() string { return fmt.Sprintf("%-12s %s", s.Name, s.Words) }

// Queue is the mail that waits.
type Queue struct {
	Words string // how much, and why
	// Codes are those of the faults in Words, by which a front end says what to do.
	Codes []fault.Code
	Items []Item
}

// Item is one message that waits.
type Item struct {
	ID    string
	Words string
}
