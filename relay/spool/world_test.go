package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"sealpost/hal"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

const testRing = 1 << 20

// world is the plain model that a spool is held against, across restarts.
type world struct {
	offered  map[string][]byte // body by envelope
	answered map[string]bool
	asked    map[string]bool // removals asked for
	gone     map[string]bool // removals that were flushed
	notes    map[string][]string
	memos    []string
	ids      map[string]ID
	number   int
}

func newWorld() *world {
	return &world{map[string][]byte{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string][]string{}, []string{""}, map[string]ID{}, 0}
}

func (w *world) clone() *world {
	c := newWorld()
	for k, v := range w.offered {
		c.offered[k] = v
	}
	for k, v := range w.ids {
		c.ids[k] = v
	}
	for k := range w.answered {
		c.answered[k] = true
	}
	for k := range w.asked {
		c.asked[k] = true
	}
	for k := range w.gone {
		c.gone[k] = true
	}
	for k, v := range w.notes {
		c.notes[k] = slices.Clone(v)
	}
	c.memos, c.number = slices.Clone(w.memos), w.number
	return c
}

func bodyOf(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32() >> 3)
	}
	return b
}

// commit offers a message; "" where it was not taken.
func (w *world) commit(s *Spool, client uint64, size int) (string, error) {
	w.number++
	name := fmt.Sprintf("envelope %d", w.number)
	body := bodyOf(uint64(w.number), size)
	w.offered[name] = body
	e, err := s.Create(client, int64(size), []byte(name))
	if err != nil {
		return "", err
	}
	for part := range slices.Chunk(body, 50_000) {
		if _, err := e.Write(part); err != nil {
			e.Abort()
			return "", err
		}
	}
	id, err := e.Commit(context.Background())
	if err != nil {
		return "", err
	}
	w.answered[name] = true
	w.ids[name] = id
	return name, nil
}

func (w *world) remove(s *Spool, name string) error {
	w.asked[name] = true
	return s.Remove(w.ids[name])
}

func (w *world) note(s *Spool, name, note string) error {
	w.notes[name] = append(w.notes[name], note)
	return s.Note(w.ids[name], []byte(note))
}

func (w *world) memo(s *Spool, memo string) error {
	w.memos = append(w.memos, memo)
	return s.SetMemo([]byte(memo))
}

func (w *world) sync(s *Spool) error {
	if err := s.Sync(context.Background()); err != nil {
		return err
	}
	for name := range w.asked {
		w.gone[name] = true
	}
	for name, notes := range w.notes {
		w.notes[name] = notes[len(notes)-1:]
	}
	w.memos = w.memos[len(w.memos)-1:]
	return nil
}

// adopt begins a new life: what the spool holds after a restart is how it
// stays until something is asked of it.
func (w *world) adopt(s *Spool) error {
	held := map[string]bool{}
	for m := range s.Messages() {
		envelope, err := s.Envelope(m.ID)
		if err != nil {
			return err
		}
		name := string(envelope)
		note, err := s.NoteOf(m.ID)
		if err != nil {
			return err
		}
		held[name] = true
		w.answered[name] = true
		w.notes[name] = []string{string(note)}
		delete(w.asked, name)
	}
	for name := range w.asked {
		w.gone[name] = !held[name]
	}
	w.memos = []string{string(s.Memo())}
	return nil
}

// check holds what a spool has against the model: all that it answered for is
// there and nothing else, but for one message if that is damaged. The damaged
// one is reported, and not there.
func (w *world) check(s *Spool, damaged string) error {
	found := map[string]bool{}
	for m := range s.Messages() {
		envelope, err := s.Envelope(m.ID)
		var body []byte
		if err == nil {
			body, err = readAll(s, m.ID)
		}
		if errors.Is(err, ErrDamaged) && damaged != "" && m.ID == w.ids[damaged] {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %d: %w", m.ID, err)
		}
		name := string(envelope)
		want, offered := w.offered[name]
		if !offered || !bytes.Equal(body, want) || found[name] {
			return fmt.Errorf("%q: %d bytes that were never offered, or twice", name, len(body))
		}
		if w.gone[name] {
			return fmt.Errorf("%q rose after its removal was flushed", name)
		}
		found[name] = true
		w.ids[name] = m.ID
		if err := w.checkNote(s, name, m.ID); err != nil {
			return err
		}
	}
	for name := range w.answered {
		if !found[name] && !w.asked[name] && name != damaged {
			return fmt.Errorf("%q is lost; reported %v", name, s.Damages())
		}
	}
	if damaged != "" && (found[damaged] || !reported(s.Damages(), w.ids[damaged])) {
		return fmt.Errorf("%q is damaged; there %t, reported %v", damaged, found[damaged], s.Damages())
	}
	if !slices.Contains(w.memos, string(s.Memo())) {
		return fmt.Errorf("the memo is %q, not of %q", s.Memo(), w.memos)
	}
	return nil
}

func reported(damages []Damage, id ID) bool {
	return slices.ContainsFunc(damages, func(d Damage) bool { return d.ID == id })
}

func (w *world) checkNote(s *Spool, name string, id ID) error {
	note, err := s.NoteOf(id)
	if err != nil {
		return fmt.Errorf("note of %q: %w", name, err)
	}
	if !slices.Contains(append([]string{""}, w.notes[name]...), string(note)) {
		return fmt.Errorf("the note of %q is %q, not of %q", name, note, w.notes[name])
	}
	return nil
}

func readAll(s *Spool, id ID) ([]byte, error) {
	r, err := s.Content(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func mustOpen(t testing.TB, flash hal.Flash, limits Limits) (*Spool, Recovery) {
	t.Helper()
	s, recovery, err := Open(flash, testKey, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, recovery
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
