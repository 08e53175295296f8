package tpm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/hal"
)

const (
	defaultTimeout = 30 * time.Second

	// keyCreationFactor multiplies the timeout while the TPM generates primes, as in
	// the kernel for TPM2_Create (5 minutes).
	keyCreationFactor = 10

	// idleTimeout is how long an unused connection to a software TPM is kept, which
	// serves one client at a time.
	idleTimeout = 200 * time.Millisecond

	// retryAfter is how long the error of a failed connect is returned without another
	// attempt.
	retryAfter = time.Second
)

// TPM is one TPM 2.0. It connects when it is first needed and again whenever
// the connection was lost.
type TPM struct {
	address address
	timeout time.Duration

	turn        chan struct{} // holds a token while an operation owns the fields below
	link        *link
	idle        *time.Timer // releases an unused link
	closed      bool
	unavailable *hal.TPMFault // why the last connect failed
	since       time.Time     // the time of that failure

	mu       sync.Mutex
	expected []byte // root of the last object that was loaded or created
}

var _ hal.TPM = (*TPM)(nil)

// Option changes how a TPM is reached.
type Option func(*TPM)

// WithTimeout sets how long one operation may take before the connection is
// given up, 30 s by default. Creating a key may take ten times as long.
func WithTimeout(d time.Duration) Option {
	return func(t *TPM) { t.timeout = d }
}

// New returns the TPM at an address: "/dev/tpmrm0" or another absolute path of a
// device, "unix:/path" or "tcp:host:port". It fails only for a malformed address; it
// connects at first use.
func New(address string, opts ...Option) (*TPM, error) {
	parsed, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	t := &TPM{address: parsed, timeout: defaultTimeout, turn: make(chan struct{}, 1)}
	t.idle = time.AfterFunc(idleTimeout, t.releaseIfIdle)
	t.idle.Stop()
	for _, opt := range opts {
		opt(t)
	}
	return t, nil
}

// errClosed is the error of every operation after Close.
var errClosed = errors.New("the connection to the TPM was closed by this program")

// Close waits for the current operation, flushes what was loaded and closes the
// connection.
func (t *TPM) Close() error {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	t.closed = true
	t.idle.Stop()
	t.release()
	return nil
}

// releaseIfIdle releases the TPM unless an operation runs, which releases it when it
// ends.
func (t *TPM) releaseIfIdle() {
	select {
	case t.turn <- struct{}{}:
		t.release()
		<-t.turn
	default:
	}
}

func (t *TPM) release() {
	if t.link == nil {
		return
	}
	t.link.deadline = time.Now().Add(t.timeout)
	t.link.flushAll()
	t.drop()
}

// operation is one request to the TPM; run may be called twice.
type operation struct {
	name   string
	limit  time.Duration
	run    func(*link) error
	secret []byte // cleared when the operation is over
}

// do runs op when its turn comes. If ctx ends first, do returns and the TPM finishes
// the command in the background: aborting it would lose the connection.
func (t *TPM) do(ctx context.Context, op operation) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		clear(op.secret)
		return fmt.Errorf("%s: waiting for the TPM, which is busy: %w", op.name, ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-t.turn }()
		defer clear(op.secret)
		done <- t.attempt(op)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: waiting for the TPM's response: %w", op.name, ctx.Err())
	}
}

// attempt runs op, and again on a new connection if the TPM has lost its loaded
// objects.
func (t *TPM) attempt(op operation) error {
	t.idle.Stop()
	err := t.tryOnce(op)
	if isLost(err) {
		err = t.tryOnce(op)
	}
	if t.link != nil && !t.link.channel.managed() {
		t.idle.Reset(idleTimeout)
	}
	return asFault(op.name, err)
}

func (t *TPM) tryOnce(op operation) error {
	if t.closed {
		return errClosed
	}
	deadline := time.Now().Add(op.limit)
	if err := t.connect(deadline); err != nil {
		return err
	}
	t.link.deadline = deadline
	err := op.run(t.link)
	if breaksLink(err) {
		t.drop()
	}
	if errors.Is(err, errStalled) {
		t.rememberFault(asFault(op.name, err))
	}
	return err
}

func (t *TPM) connect(deadline time.Time) error {
	if t.link != nil {
		return nil
	}
	if t.unavailable != nil && time.Since(t.since) < retryAfter {
		return t.unavailable
	}
	t.unavailable = nil
	link, err := openLink(t.address, deadline)
	if err != nil {
		err = asFault("connect", err)
		t.rememberFault(err)
		return err
	}
	t.link = link
	return nil
}

// rememberFault stores a fault, so that callers do not wait for an absent TPM.
func (t *TPM) rememberFault(err error) {
	if fault, ok := errors.AsType[*hal.TPMFault](err); ok {
		t.unavailable, t.since = fault, time.Now()
	}
}

func (t *TPM) drop() {
	if t.link != nil {
		t.link.channel.close()
		t.link = nil
	}
}

func (t *TPM) expect(root []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected = root
}

func (t *TPM) expectedRoot() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.expected
}
