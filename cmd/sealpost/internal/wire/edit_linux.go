package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// lockTimeout limits the wait for another process that changes a file, or only holds its
// lock.
const lockTimeout = 5 * time.Second

// lockFile locks a file that is changed by replacing it. Without the file, or the right to
// read it, it does nothing: reading it fails likewise.
func lockFile(path string) (unlock func(), err error) {
	for end := time.Now().Add(lockTimeout); ; time.Sleep(10 * time.Millisecond) {
		file, err := os.Open(path)
		if err != nil {
			return func() {}, nil
		}
		// A network file system may know no locks.
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && isAt(file, path) {
			return func() { _ = file.Close() }, nil
		}
		_ = file.Close()
		if time.Now().After(end) {
			return nil, fmt.Errorf("another command changes %s: try again when it has ended", path)
		}
	}
}

// isAt reports whether a file is still the one at a path.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// chownLike gives a file the owner of another one, if this process may.
func chownLike(file *os.File, like fs.FileInfo) error {
	owner, ok := like.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid() {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
