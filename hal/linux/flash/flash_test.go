//go:build linux

package flash

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newDevice(t *testing.T, size int64) (*Device, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "box.state")
	if err := Create(path, size); err != nil {
		t.Fatal(err)
	}
	return open(t, path), path
}

func open(t *testing.T, path string) *Device {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func region(t *testing.T, d *Device, off, length int64) *Region {
	t.Helper()
	r, err := d.Region(off, length)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCreate_FillsTheFileWithZeros(t *testing.T) {
	const size = 3<<20 + 512
	d, path := newDevice(t, size)
	if d.Size() != size {
		t.Errorf("size %d, want %d", d.Size(), size)
	}
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(data, make([]byte, size)) {
		t.Errorf("%d bytes, not all zero, or %v", len(data), err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks*512 < size {
		t.Errorf("only %d bytes are on the disk", blocks*512)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}
}

func TestCreate_LeavesAnExistingFileAlone(t *testing.T) {
	d, path := newDevice(t, 4096)
	if _, err := d.WriteAt([]byte("mail"), 0); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, 8192); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	if data, _ := os.ReadFile(path); len(data) != 4096 || !strings.HasPrefix(string(data), "mail") {
		t.Error("the old state was changed")
	}
}

func TestCreate_LeavesNothingBehindOnFailure(t *testing.T) {
	dir := t.TempDir()
	err := Create(filepath.Join(dir, "box.state"), 1<<60)
	if err == nil || !strings.Contains(err.Error(), "free some space or set a smaller spool.size") {
		t.Errorf("got %v, want an error with %q", err, "free some space or set a smaller spool.size")
	}
	if Create(filepath.Join(dir, "box.state"), 0) == nil {
		t.Error("a state of size 0 was created")
	}
	if Create(filepath.Join(dir, "no", "box.state"), 512) == nil {
		t.Error("a state in a missing folder was created")
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("got files %v, want none", files)
	}
}

func TestOpen_RefusesWhatCannotHoldAState(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{empty: "is empty", dir: "is a directory", "/dev/null": "neither a file nor a block device"} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", path, err, want)
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestRegion_IsReadByTheNextProcess(t *testing.T) {
	d, path := newDevice(t, 8192)
	r := region(t, d, 4096, 4096)
	if _, err := r.WriteAt([]byte("hello"), 10); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := open(t, path).ReadAt(got, 4106); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRegion_RefusesAccessOutOfBounds(t *testing.T) {
	d, path := newDevice(t, 8192)
	const maxInt64 = 1<<63 - 1
	for _, c := range []struct {
		name     string
		flash    interface{ Size() int64 }
		off, len int64
	}{
		{"before the device", d, -1, 1},
		{"after the device", d, 8192, 1},
		{"across the device's end", d, 8000, 512},
		{"overflowing", d, maxInt64, 512},
		{"before the region", region(t, d, 1024, 1024), -1, 1},
		{"across the region's end", region(t, d, 1024, 1024), 1000, 512},
		{"after the region", region(t, d, 1024, 1024), 1024, 1},
		{"overflowing the region", region(t, d, 1024, 1024), maxInt64, 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.flash.(interface {
				ReadAt([]byte, int64) (int, error)
				WriteAt([]byte, int64) (int, error)
			})
			buffer := bytes.Repeat([]byte{1}, int(c.len))
			if n, err := f.ReadAt(buffer, c.off); n != 0 || !errors.Is(err, ErrOutOfRange) {
				t.Errorf("read: got %d, %v, want 0, %v", n, err, ErrOutOfRange)
			}
			if n, err := f.WriteAt(buffer, c.off); n != 0 || !errors.Is(err, ErrOutOfRange) {
				t.Errorf("write: got %d, %v, want 0, %v", n, err, ErrOutOfRange)
			}
		})
	}
	if data, _ := os.ReadFile(path); !bytes.Equal(data, make([]byte, 8192)) {
		t.Error("a rejected write changed the file")
	}
	for _, bounds := range [][2]int64{{0, 8193}, {8192, 1}, {-1, 1}, {0, -1}, {1, maxInt64}} {
		if _, err := d.Region(bounds[0], bounds[1]); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("region %v: got %v, want %v", bounds, err, ErrOutOfRange)
		}
	}
}

func TestReadAt_ReportsATruncatedFile(t *testing.T) {
	d, path := newDevice(t, 8192)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 4096); err == nil || !strings.Contains(err.Error(), "was cut short") {
		t.Errorf("got %v, want an error with %q", err, "was cut short")
	}
}

func TestLock_ExcludesOtherProcessesAndLocks(t *testing.T) {
	first, path := newDevice(t, 8192)
	ownRegion := region(t, first, 0, 4096)
	// For the kernel, a second open file is like a second process.
	otherRegion := region(t, open(t, path), 0, 4096)
	elsewhere := region(t, open(t, path), 4096, 4096)

	unlock, err := ownRegion.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Region{"other process": otherRegion, "same region": ownRegion} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := r.Lock(ctx)
		cancel()
		if !errors.Is(err, ErrInUse) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "in use by another process of Sealpost") {
			t.Errorf("%s: got %v, want %v", name, err, ErrInUse)
		}
	}
	unlockElsewhere, err := elsewhere.Lock(t.Context())
	if err != nil {
		t.Errorf("the next region was locked too: %v", err)
	} else if err := unlockElsewhere(); err != nil {
		t.Error(err)
	}

	if err := errors.Join(unlock(), unlock()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Region{otherRegion, ownRegion} {
		unlock, err := r.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLock_WaitsUntilReleased(t *testing.T) {
	first, path := newDevice(t, 4096)
	unlock, err := region(t, first, 0, 4096).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting := region(t, open(t, path), 0, 4096)
	got := make(chan error)
	go func() {
		_, err := waiting.Lock(t.Context())
		got <- err
	}()
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestFlush_KeepsFailingAfterAFailure(t *testing.T) {
	d, _ := newDevice(t, 4096)
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	original := d.file
	d.file = pipe // fdatasync of a pipe fails
	first := d.Flush()
	d.file = original
	if first == nil || !errors.Is(d.Flush(), syscall.EINVAL) {
		t.Errorf("first %v, then %v", first, d.Flush())
	}
}
