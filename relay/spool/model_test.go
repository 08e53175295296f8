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

// model is the expected state of a spool, across restarts.
type model struct {
	offered   map[string][]byte // bodies by envelope
	committed map[string]bool
	removed   map[string]bool // removals requested
	flushed   map[string]bool // removals flushed
	notes     map[string][]string
	memos     []string
	ids       map[string]ID
	number    int
}

func newModel() *model {
	return &model{map[string][]byte{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string][]string{}, []string{""}, map[string]ID{}, 0}
}

func (w *model) clone() *model {
	c := newModel()
	for k, v := range w.offered {
		c.offered[k] = v
	}
	for k, v := range w.ids {
		c.ids[k] = v
	}
	for k := range w.committed {
		c.committed[k] = true
	}
	for k := range w.removed {
		c.removed[k] = true
	}
	for k := range w.flushed {
		c.flushed[k] = true
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

// commit writes a message; it returns "" if that failed.
func (w *model) commit(s *Spool, client uint64, size int) (string, error) {
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
	w.committed[name] = true
	w.ids[name] = id
	return name, nil
}

func (w *model) remove(s *Spool, name string) error {
	w.removed[name] = true
	return s.Remove(w.ids[name])
}

func (w *model) note(s *Spool, name, note string) error {
	w.notes[name] = append(w.notes[name], note)
	return s.Note(w.ids[name], []byte(note))
}

func (w *model) memo(s *Spool, memo string) error {
	w.memos = append(w.memos, memo)
	return s.SetMemo([]byte(memo))
}

func (w *model) sync(s *Spool) error {
	if err := s.Sync(context.Background()); err != nil {
		return err
	}
	for name := range w.removed {
		w.flushed[name] = true
	}
	for name, notes := range w.notes {
		w.notes[name] = notes[len(notes)-1:]
	}
	w.memos = w.memos[len(w.memos)-1:]
	return nil
}

// adopt takes the state of a spool after a restart as the expected state.
func (w *model) adopt(s *Spool) error {
	present := map[string]bool{}
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
		present[name] = true
		w.committed[name] = true
		w.notes[name] = []string{string(note)}
		delete(w.removed, name)
	}
	for name := range w.removed {
		w.flushed[name] = !present[name]
	}
	w.memos = []string{string(s.Memo())}
	return nil
}

// check compares the spool with the model: every committed message is present,
// except for damaged, which must be reported instead.
func (w *model) check(s *Spool, damaged string) error {
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
			return fmt.Errorf("reading message %d: %w", m.ID, err)
		}
		name := string(envelope)
		want, offered := w.offered[name]
		if !offered || !bytes.Equal(body, want) || found[name] {
			return fmt.Errorf("%q: got %d bytes, which were never written, or a duplicate", name, len(body))
		}
		if w.flushed[name] {
			return fmt.Errorf("%q: present after its removal was flushed", name)
		}
		found[name] = true
		w.ids[name] = m.ID
		if err := w.checkNote(s, name, m.ID); err != nil {
			return err
		}
	}
	for name := range w.committed {
		if !found[name] && !w.removed[name] && name != damaged {
			return fmt.Errorf("%q is lost; damage %v", name, s.Damages())
		}
	}
	if damaged != "" && (found[damaged] || !reported(s.Damages(), w.ids[damaged])) {
		return fmt.Errorf("%q is damaged: present %t, damage %v", damaged, found[damaged], s.Damages())
	}
	if !slices.Contains(w.memos, string(s.Memo())) {
		return fmt.Errorf("memo: got %q, want one of %q", s.Memo(), w.memos)
	}
	return nil
}

func reported(damages []Damage, id ID) bool {
	return slices.ContainsFunc(damages, func(d Damage) bool { return d.ID == id })
}

func (w *model) checkNote(s *Spool, name string, id ID) error {
	note, err := s.NoteOf(id)
	if err != nil {
		return fmt.Errorf("note of %q: %w", name, err)
	}
	if !slices.Contains(append([]string{""}, w.notes[name]...), string(note)) {
		return fmt.Errorf("note of %q: got %q, want one of %q", name, note, w.notes[name])
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
