//go:build linux

package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes an ordinary file of size bytes, every one of them written as a
// real zero and durable: an extent that was only reserved would cost a journal
// commit when it is first used. The file appears under its name whole or not
// at all; the error wraps [fs.ErrExist] where the name is taken.
func Create(path string, size int64) (err error) {
	if size <= 0 {
		return fmt.Errorf("creating the state %s: %d is no size", path, size)
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("creating the state: %s: %w", path, fs.ErrExist)
	}
	dir := filepath.Dir(path)
	if err := checkSpace(dir, size); err != nil {
		return fmt.Errorf("creating the state %s: %w", path, err)
	}
	file, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("creating the state %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
			err = fmt.Errorf("creating the state %s: %w", path, err)
		}
	}()
	if err := errors.Join(fill(file, size), file.Close()); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, file.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("giving the finished file its name: %w", err)
	}
	return syncDir(dir)
}

// fill writes size zeros through to the disk.
func fill(file *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), size-off)]
		if _, err := file.WriteAt(zeros, off); errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("%w: free some space or set a smaller spool.size", err)
		} else if err != nil {
			return err
		}
	}
	return file.Sync()
}

func checkSpace(dir string, size int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("asking %s for its free space: %w", dir, err)
	}
	free := stat.Bavail * uint64(stat.Bsize)
	if free < uint64(size) {
		return fmt.Errorf("%d MiB are needed and %s has %d MiB free: free some space or set a smaller spool.size",
			(size+1<<20-1)>>20, dir, free>>20)
	}
	return nil
}

// syncDir makes a new name in dir durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
