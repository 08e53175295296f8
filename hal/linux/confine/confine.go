// Package confine permanently removes from this process what it does not need: the
// files it was not promised, and every other program.
//
// It knows paths and system calls. It must not know what the process does with
// what is left to it.
package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rights are the files that stay open to the process, beside those it has open
// already. One that is not there is left out.
type Rights struct {
	ReadWrite []string
	Read      []string
	// ReadIn are folders of which every file may be read, also one that comes
	// later or takes another's place.
	ReadIn []string
}

// Enforce confines every thread of the process, and what it may start:
// Landlock (landlock(7)) takes away the files, a seccomp filter (seccomp(2))
// the programs, for Landlock does not see one that lies in memory alone. It
// fails where the kernel cannot do both.
func Enforce(r Rights) error {
	rules := []landlock.Rule{}
	if paths := existing(r.ReadWrite); len(paths) > 0 {
		rules = append(rules, landlock.RWFiles(paths...))
	}
	if paths := existing(r.Read); len(paths) > 0 {
		rules = append(rules, landlock.ROFiles(paths...))
	}
	if paths := existing(r.ReadIn); len(paths) > 0 {
		rules = append(rules, landlock.PathAccess(readFiles, paths...))
	}
	// A kernel that knows none of it must not pass for one that confines.
	if _, err := llsyscall.LandlockGetABIVersion(); err != nil {
		return fmt.Errorf("this kernel cannot confine a process to its files: one with CONFIG_SECURITY_LANDLOCK is needed: %w", err)
	}
	if err := landlock.V11.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("confining the process to its files: %w", err)
	}
	if err := forbidPrograms(); err != nil {
		return fmt.Errorf("confining the process to its own program: %w", err)
	}
	// What lies in its memory stays out of dumps and from its own user's eyes.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping the process from being dumped: %w", err)
	}
	return nil
}

// readFiles leaves out the lists of folders.
const readFiles = llsyscall.AccessFSReadFile

func existing(paths []string) []string {
	var there []string
	for _, path := range paths {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			there = append(there, path)
		}
	}
	return there
}
