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

// Create creates a file of size bytes and writes zeros to all of it: an extent that
// is only reserved would cost a journal commit at its first use. The file appears
// under its name only when it is complete and durable; the error wraps
// [fs.ErrExist] if the name exists.
func Create(path string, size int64) (err error) {
	if size <= 0 {
		return fmt.Errorf("creating the state %s: %d is not a valid size", path, size)
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
		return fmt.Errorf("renaming the finished file: %w", err)
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
	if err := unix.Statfs(dir, &stat); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder %s does not exist", dir)
	} else if err != nil {
		return fmt.Errorf("reading the free space of %s: %w", dir, err)
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
