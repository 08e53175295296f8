package wire

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestEditSettings_KeepsEachOfManyChangesAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealpost.toml")
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := errors.Join(os.WriteFile(path, nil, 0o640), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	const changes = 40
	var all sync.WaitGroup
	for range changes {
		all.Go(func() {
			err := Options{Config: link}.EditSettings(func(text []byte) ([]byte, error) {
				time.Sleep(time.Millisecond)
				return append(text, '#'), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(path)
	if err != nil || len(text) != bytes.Count(text, []byte("#")) || len(text) != changes {
		t.Errorf("got %q, %v, want %d changes", text, err, changes)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: got %v, %v, want a link", info, err)
	}
	if info, err = os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v, want the mode as before", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("got the files %v, %v, want only one", left, err)
	}
}
