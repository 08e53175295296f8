package spool

import (
	"errors"
	"fmt"
	"io"
)

// Stat is a summary of the spool. Sizes are in bytes.
type Stat struct {
	Messages int   `json:"messages"`
	Damaged  int   `json:"damaged"` // damaged messages
	Bytes    int64 `json:"bytes"`   // envelopes and content of queued messages
	Clients  int   `json:"clients"`
	Size     int64 `json:"size"`         // size of the ring
	Segment  int64 `json:"segment_size"` // size of one segment
	Segments int   `json:"segments"`
	Free     int   `json:"free_segments"`
	Room     int64 `json:"room"` // space left for messages
}

// Stat returns the current summary.
func (s *Spool) Stat() Stat {
	s.mu.Lock()
	defer s.mu.Unlock()
	stat := Stat{
		Clients:  len(s.index.clients),
		Size:     int64(s.geometry.count) * s.geometry.segment,
		Segment:  s.geometry.segment,
		Segments: s.geometry.count,
		Free:     s.geometry.count - s.used,
		Room:     max(0, s.space()-s.reserved-s.inFlight),
	}
	for _, m := range s.index.messages {
		if m.state != queued {
			continue
		}
		stat.Messages++
		stat.Bytes += m.usage()
		if m.damaged {
			stat.Damaged++
		}
	}
	return stat
}

// Verify reads every message in full, marks the damaged ones, and returns all
// known damage.
func (s *Spool) Verify() []Damage {
	for m := range s.Messages() {
		if r, err := s.Content(m.ID); err == nil {
			_, _ = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if m.Size == 0 {
			_, _ = s.Envelope(m.ID)
		}
	}
	return s.Damages()
}

// Dump writes a description of the ring on flash, one line for each segment,
// run, frame and record. It only reads, so it also works on a ring that Open
// rejects for damage. With a wrong key it fails as Open does.
func Dump(w io.Writer, flash io.ReaderAt, size int64, key []byte) error {
	g, err := geometryOf(size)
	if err != nil {
		return err
	}
	k, err := newKeys(key)
	if err != nil {
		return err
	}
	segment := make([]byte, g.segment)
	for i := range g.count {
		base := int64(i) * g.segment
		if _, err := flash.ReadAt(segment, base); err != nil {
			if _, err := fmt.Fprintf(w, "segment %d at %d: %v\n", i, base, err); err != nil {
				return err
			}
			continue
		}
		r, err := k.readHeader(segment[:pageSize], g, base)
		if err != nil && !errors.Is(err, errHeader) {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		d := &dumper{w: w}
		if err != nil {
			d.line("segment %d at %d: no header", i, base)
		} else {
			d.line("segment %d at %d", i, base)
			k.scan(segment, g, base, r, visitor{run: d.run, frame: d.frame, damaged: d.damaged})
		}
		if d.err != nil {
			return fmt.Errorf("writing the dump: %w", d.err)
		}
	}
	return nil
}

type dumper struct {
	w   io.Writer
	err error
}

func (d *dumper) line(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format+"\n", args...)
	}
}

func (d *dumper) run(r run) {
	d.line("  run at %d: epoch %d, %s, next message %d", r.at, r.epoch, r.suite, r.next)
}

func (d *dumper) damaged(at, length int64) {
	d.line("    %d bytes at %d: %s", length, at, reasonUnreadable)
}

func (d *dumper) frame(f *frame, _ []byte, last bool) {
	d.line("    frame at %d: %d bytes, counter %d, one copy %t, last of its run %t", f.at, f.size, f.counter, f.oneCopy, last)
	for i, r := range f.records {
		switch r.kind {
		case pieceRecord:
			d.line("      piece %d of message %d: %d bytes at %d", r.index, r.id, r.length, f.pieces[i].at)
		case endRecord:
			d.line("      end of message %d: client %016x, envelope %d, content %d, pieces %d", r.id, r.client, r.envelope, r.size, r.index)
		case noteRecord:
			d.line("      note of message %d: %d bytes", r.id, len(r.data))
		case removedRecord:
			d.line("      message %d removed", r.id)
		case memoRecord:
			d.line("      memo: %d bytes", len(r.data))
		}
	}
}
