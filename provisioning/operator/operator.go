// Package operator is the interface between a front end, such as the serial
// console, and the box: what a person can ask a box to do.
//
// It contains only the interface and its types. It must not know how a front end
// presents them or how a box carries them out.
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
	"sealpost/provisioning/user"
)

// Box is the box that a person operates. Its errors are faults (see hal/fault) if
// a person must act; the front end says what to do.
type Box interface {
	// Status returns the state of the box.
	Status(ctx context.Context) (Status, error)
	// Running returns the running configuration, or candidate.ErrFactory.
	Running(ctx context.Context) (candidate.Running, error)
	// Unlock reports whether digits are the console's PIN. If not, wrong is the number
	// of wrong PINs in a row, also over restarts.
	Unlock(ctx context.Context, digits string) (right bool, wrong int, err error)

	// Check returns the faults of a candidate, and changes nothing.
	Check(ctx context.Context, c candidate.Candidate) error
	// Commit stores the candidate and applies it.
	Commit(ctx context.Context, c candidate.Candidate) error
	// Confirm confirms the settings on trial.
	Confirm(ctx context.Context) error
	// RollBack restores the settings before the trial.
	RollBack(ctx context.Context) error

	// Probe finds out which delivery methods work from this network.
	Probe(ctx context.Context, target Target) (preflight.ProbeResult, error)
	// Preflight reports what would prevent delivery.
	Preflight(ctx context.Context) iter.Seq2[preflight.Finding, error]
	// SendTest sends a test message and traces it.
	SendTest(ctx context.Context, to string) iter.Seq2[Step, error]

	// Certificate describes the client certificate.
	Certificate(ctx context.Context) (string, error)
	// Authority returns the certificate of the box's own CA for the LAN, in PEM.
	Authority(ctx context.Context) (string, error)
	// Request creates a key in the TPM and returns its certificate request in
	// PEM.
	Request(ctx context.Context, r Request) (string, error)

	// Users returns the users as whom devices log in; Commit changes them.
	Users(ctx context.Context) ([]user.User, error)

	// Devices returns what the relay has seen of devices; Commit changes their settings.
	Devices(ctx context.Context) (Devices, error)
	// Learn begins or ends learn mode, and returns it.
	Learn(ctx context.Context, l Learning) (Learning, error)
	// Explain returns the decision on each part of a message, and what would be sent.
	Explain(ctx context.Context, q Question) ([]Step, error)

	// TenantScript returns the PowerShell that configures the tenant for the box.
	TenantScript(ctx context.Context) (string, error)
	// TenantCertificate returns the certificate that signs for tokens, in PEM.
	TenantCertificate(ctx context.Context) (string, error)
	// SignIn yields the page and code for a sign-in, and ends when it is done.
	SignIn(ctx context.Context) iter.Seq2[Step, error]
	// DKIM does something with the keys that sign by DKIM, and returns what to show.
	DKIM(ctx context.Context, action DKIMAction) (string, error)
	// VerifyTenant checks each step to the mailbox up to the first problem.
	VerifyTenant(ctx context.Context) iter.Seq2[preflight.Finding, error]

	// Messages returns the outcome of the last messages, one line each.
	Messages(ctx context.Context) ([]string, error)
	// Queue returns the queued mail.
	Queue(ctx context.Context) (Queue, error)
	// Retry retries all messages now.
	Retry(ctx context.Context) error
	// Drop deletes the message with this ID.
	Drop(ctx context.Context, id string) error
	// Logs returns the last lines of the box's log.
	Logs(ctx context.Context) ([]string, error)

	// SetClock sets the time.
	SetClock(ctx context.Context, t time.Time) error
	// Restart restarts the box.
	Restart(ctx context.Context) error
	// FactoryReset erases everything that is stored, and restarts the box.
	FactoryReset(ctx context.Context) error
}

// Status is the state of the box.
type Status struct {
	Model, Serial, Version string
	Uptime                 time.Duration
	// Memory is the memory of the box, Free the part that is available, in bytes;
	// zero if unknown.
	Memory, Free int64
	Network      Network
	// Clock says why the clock is not trusted; empty if it is.
	Clock string
	// Relay says why the relay does not work; empty if it does.
	Relay string
	// TrialLeft is the time until settings on trial are rolled back; zero without
	// a trial.
	TrialLeft time.Duration
	// Storage says why the storage cannot be used; nil if it can.
	Storage error
}

// Network is the box's network configuration.
type Network struct {
	Method    string // such as "dhcp"
	Addresses []netip.Prefix
	Gateway   netip.Addr
	DNS       []netip.Addr
	Trouble   string // a text for people; empty without a fault
}

// Target is the host that a probe connects to.
type Target struct {
	Domain string // the domain whose MX is the host
	Host   string // instead of the MX; empty for the MX
	CA     string // PEM of the trusted certificates; empty for the public authorities
}

// Request describes a certificate request.
type Request struct {
	Settings string // the text of a sealpost.toml, which need not be active
	Name     string // the host name
	// Replace deletes a pending request and its key.
	Replace bool
}

// Step is one step of a message or of a sign-in.
type Step struct {
	Name string `json:"step"` // such as "delivered"
	Text string `json:"words"`
}

func (s Step) String() string { return fmt.Sprintf("%-12s %s", s.Name, s.Text) }

// Queue is the queued mail.
type Queue struct {
	Summary string // how much, and why
	// Codes are those of the faults in Summary; a front end uses them to say what to
	// do.
	Codes []fault.Code
	Items []Item
}

// Item is one queued message.
type Item struct {
	ID   string
	Text string
}

// DKIMAction is what to do with the keys that sign by DKIM.
type DKIMAction string

// The actions.
const (
	DKIMShow     DKIMAction = "show"     // the keys, and what is to be done
	DKIMRecord   DKIMAction = "record"   // the DNS records to publish; makes keys if there are none
	DKIMRotate   DKIMAction = "rotate"   // makes the next keys
	DKIMActivate DKIMAction = "activate" // signs by the next keys, if they are published
	DKIMRetire   DKIMAction = "retire"   // deletes the old keys
)
