package simflash

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f *Flash, text string, off int64) {
	t.Helper()
	_, err := f.WriteAt(bytes.Repeat([]byte(text), SectorSize), off)
	must(t, err)
}

func content(t *testing.T, f *Flash) string {
	t.Helper()
	p := make([]byte, f.Size())
	_, err := f.ReadAt(p, 0)
	must(t, err)
	return string(p)
}

// initials returns the first byte of each sector: a dot for zero, a question mark
// for a torn sector.
func initials(t *testing.T, f *Flash) string {
	t.Helper()
	var s []byte
	for sector := range slices.Chunk([]byte(content(t, f)), SectorSize) {
		switch {
		case !bytes.Equal(sector, bytes.Repeat(sector[:1], len(sector))):
			s = append(s, '?')
		case sector[0] == 0:
			s = append(s, '.')
		default:
			s = append(s, sector[0])
		}
	}
	return string(s)
}

func TestPowerCut_YieldsEverySubsetOfUnflushedSectors(t *testing.T) {
	f := New(4*SectorSize, 1)
	write(t, f, "a", 0)
	must(t, f.Flush())
	write(t, f, "b", 0)
	write(t, f, "c", 0)
	write(t, f, "d", 2*SectorSize)
	whole, torn := map[string]bool{}, 0
	for after := range f.PowerCut(200) {
		if got := initials(t, after); bytes.ContainsRune([]byte(got), '?') {
			torn++
		} else {
			whole[got] = true
		}
	}
	for _, want := range []string{"a...", "b...", "c...", "a.d.", "b.d.", "c.d."} {
		if !whole[want] {
			t.Errorf("no power cut yielded %s", want)
		}
		delete(whole, want)
	}
	if len(whole) > 0 || torn == 0 {
		t.Errorf("got impossible results %v and %d with torn sectors, want none and some", whole, torn)
	}
}

func TestPowerCut_SamplesSubsetsOfManyUnflushedSectors(t *testing.T) {
	f := New(64*SectorSize, 1)
	write(t, f, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0)
	seen := map[string]int{}
	for after := range f.PowerCut(20) {
		seen[initials(t, after)]++
	}
	if len(seen) != 20 || seen[string(bytes.Repeat([]byte("."), 64))] != 1 || seen[string(bytes.Repeat([]byte("x"), 64))] != 1 {
		t.Errorf("got %d different results, want 20, with all and no sectors among them", len(seen))
	}
}

func TestFlash_RepeatsItsFaultsForTheSameSeed(t *testing.T) {
	run := func(seed uint64) (all []string) {
		f := New(32*SectorSize, seed)
		f.At(2, Failed)
		write(t, f, "abcdefghijklmnop", 0)
		if err := f.Flush(); !errors.Is(err, ErrIO) {
			t.Fatalf("got %v, want %v", err, ErrIO)
		}
		write(t, f, "ABCDEFGHIJKLMNOP", 0)
		for after := range f.PowerCut(10) {
			all = append(all, content(t, after))
		}
		return all
	}
	first, repeated, other := run(7), run(7), run(8)
	same := true
	for i := range first {
		if first[i] != repeated[i] {
			t.Fatal("the same seed gave two results")
		}
		same = same && first[i] == other[i]
	}
	if same {
		t.Error("two seeds gave the same results")
	}
}

func TestFlash_KeepsFlushedDataAndFailsAfterAPowerCut(t *testing.T) {
	f := New(2*SectorSize, 1)
	write(t, f, "a", 0)
	must(t, f.Flush())
	f.At(3, Cut)
	if _, err := f.WriteAt([]byte("b"), SectorSize); !errors.Is(err, ErrPowerCut) {
		t.Errorf("write during the cut: got %v, want %v", err, ErrPowerCut)
	}
	if _, err := f.WriteAt([]byte("b"), 0); !errors.Is(err, ErrPowerCut) {
		t.Errorf("write after the cut: got %v, want %v", err, ErrPowerCut)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrPowerCut) {
		t.Errorf("read after the cut: got %v, want %v", err, ErrPowerCut)
	}
	if err := f.Flush(); !errors.Is(err, ErrPowerCut) {
		t.Errorf("flush after the cut: got %v, want %v", err, ErrPowerCut)
	}
	for after := range f.PowerCut(8) {
		if got := initials(t, after); got[0] != 'a' {
			t.Errorf("got flushed sectors %q, want a first", got)
		}
		write(t, after, "c", 0)
		for afterSecond := range after.PowerCut(8) {
			if got := initials(t, afterSecond); got[0] == '.' || got[0] == 'b' {
				t.Errorf("after a second cut: got %q, want a or c first", got)
			}
		}
	}
}

func TestFlush_ReportsSuccessWhenLost(t *testing.T) {
	f := New(SectorSize, 1)
	f.At(2, Lost)
	write(t, f, "a", 0)
	must(t, f.Flush())
	seen := map[string]bool{}
	for after := range f.PowerCut(8) {
		seen[initials(t, after)] = true
	}
	if !seen["."] || !seen["a"] {
		t.Errorf("got %v, want the write both lost and kept", seen)
	}
}

func TestFlush_MayShowUnwrittenDataAfterAFailure(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		f := New(SectorSize, seed)
		f.At(2, Failed)
		write(t, f, "a", 0)
		if err := f.Flush(); !errors.Is(err, ErrIO) {
			t.Fatalf("got %v, want %v", err, ErrIO)
		}
		shown := initials(t, f)
		must(t, f.Flush())
		for after := range f.PowerCut(8) {
			if shown == "a" && initials(t, after) == "." {
				lost++
			}
		}
	}
	if lost == 0 {
		t.Error("no failed flush of 50 showed data that a power cut lost")
	}
}

func TestWriteAt_ReportsHowMuchItWroteOnFailure(t *testing.T) {
	f := New(8*SectorSize, 1)
	f.At(1, Short)
	f.At(2, Failed)
	n, err := f.WriteAt(bytes.Repeat([]byte("a"), 4*SectorSize), 0)
	if n != 2*SectorSize || !errors.Is(err, ErrIO) || initials(t, f) != "aa......" {
		t.Errorf("short: got %d, %v, %s, want %d, %v, aa......", n, err, initials(t, f), 2*SectorSize, ErrIO)
	}
	if n, err := f.WriteAt([]byte("b"), 0); n != 0 || !errors.Is(err, ErrIO) {
		t.Errorf("failed: got %d, %v, want 0, %v", n, err, ErrIO)
	}
	if c := f.Counts(); c != (Counts{Writes: 2, Bytes: 4*SectorSize + 1}) {
		t.Errorf("got %+v, want %+v", c, (Counts{Writes: 2, Bytes: 4*SectorSize + 1}))
	}
}

func TestFlash_KeepsPartOfAWriteWithoutSpace(t *testing.T) {
	reached, discarded := map[string]bool{}, false
	for seed := range uint64(50) {
		f := New(2*SectorSize, seed)
		f.At(1, NoSpace)
		f.At(2, NoSpace)
		n, err := f.WriteAt(bytes.Repeat([]byte("a"), 2*SectorSize), 0)
		shown := initials(t, f)
		if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || n != SectorSize*bytes.Count([]byte(shown), []byte("a")) {
			t.Fatalf("got %d octets, %v, content %s, want %v and the octets of whole sectors", n, err, shown, ErrNoSpace)
		}
		reached[shown] = true
		if err := f.Flush(); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("got %v, want %v", err, ErrNoSpace)
		}
		discarded = discarded || initials(t, f) != shown
	}
	if len(reached) != 3 || !reached[".."] || !reached["a."] || !reached["aa"] || !discarded {
		t.Errorf("got contents %v, discarded %t, want each number of sectors and true", reached, discarded)
	}
}

func TestFlash_SimulatesFlippedBitsAndBadSectors(t *testing.T) {
	f := New(2*SectorSize, 1)
	f.FlipBit(8*SectorSize + 3)
	if got := content(t, f); got[SectorSize] != 8 || got[0] != 0 {
		t.Error("FlipBit changed another bit")
	}
	f.FailReads(SectorSize+5, 1)
	if _, err := f.ReadAt(make([]byte, 2*SectorSize), 0); !errors.Is(err, ErrIO) {
		t.Errorf("bad sector: got %v, want %v", err, ErrIO)
	}
	if _, err := f.ReadAt(make([]byte, SectorSize), 0); err != nil {
		t.Errorf("good sector: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), f.Size()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("beyond the end: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}
