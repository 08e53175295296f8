package lab

import "testing"

// Shared is a box that serves several cases in turn: a boot costs an emulated
// processor more than most cases do. Each case leaves the box in the state in
// which it found it.
type Shared struct {
	start func(t *testing.T) *Box
	box   *Box // nil before the first case, and after a case that failed
}

// Share serves cases on a box that start gives, running and in the state that
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

// Retire ends the box, so that the next case gets a new one. It follows a case that
// cannot leave the box as it was.
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

// logIfFailed shows what the box said in a test that failed.
func (b *Box) logIfFailed(t *testing.T) {
	t.Helper()
	if log := b.KernelLog(); t.Failed() && log != "" {
		t.Logf("the kernel's log:\n%s", log)
	}
}
