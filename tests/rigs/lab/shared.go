package lab

import "testing"

// Shared runs several cases on one box, because a boot in QEMU takes longer than
// most cases. Each case restores the state of the box.
type Shared struct {
	start func(t *testing.T) *Box
	box   *Box // nil before the first case, and after a case that failed
}

// Share returns a Shared whose box start creates, running and in the state that
// every case expects.
func Share(start func(t *testing.T) *Box) *Shared { return &Shared{start: start} }

// Case runs a case as a subtest. After a case that failed the next one gets a
// new box, so that one fault fails one case.
func (s *Shared) Case(t *testing.T, name string, run func(t *testing.T, b *Box)) {
	t.Helper()
	if s.box == nil {
		s.box = s.start(t)
	}
	passed := t.Run(name, func(t *testing.T) {
		defer s.box.logIfFailed(t)
		run(t, s.box)
	})
	if !passed {
		s.Retire(t)
	}
}

// Retire closes the box, so that the next case gets a new one. Call it after a case
// that cannot restore the state of the box.
func (s *Shared) Retire(t *testing.T) {
	t.Helper()
	if s.box == nil {
		return
	}
	if err := s.box.Close(); err != nil {
		t.Error(err)
	}
	s.box = nil
}

// logIfFailed logs the kernel's log of a failed test.
func (b *Box) logIfFailed(t *testing.T) {
	t.Helper()
	if log := b.KernelLog(); t.Failed() && log != "" {
		t.Logf("the kernel's log:\n%s", log)
	}
}
