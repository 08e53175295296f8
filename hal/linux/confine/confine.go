// Package confine permanently restricts this process to the files that it needs,
// and prevents it from running other programs.
//
// It knows paths and system calls. It must not know what the process does.
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

// Rights are the files that the process may open. Missing ones are ignored, and
// files that are open already stay usable.
type Rights struct {
	ReadWrite []string
	Read      []string
	// ReadIn are folders whose files may all be read, including those that are created
	// or replaced later.
	ReadIn []string
}

// Enforce confines every thread of the process and its children: Landlock
// (landlock(7)) restricts files, and a seccomp filter (seccomp(2)) programs, because
// Landlock does not cover a program that is only in memory. It fails if the kernel
// does not support both.
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
	// A kernel without Landlock must be an error.
	if _, err := llsyscall.LandlockGetABIVersion(); err != nil {
		return fmt.Errorf("this kernel cannot confine a process to its files: use one with CONFIG_SECURITY_LANDLOCK: %w", err)
	}
	if err := landlock.V11.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("confining the process to its files: %w", err)
	}
	if err := forbidPrograms(); err != nil {
		return fmt.Errorf("confining the process to its own program: %w", err)
	}
	// Its memory must not be dumped, or be readable by its own user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("preventing memory dumps: %w", err)
	}
	return nil
}

// readFiles does not include the right to list a folder.
const readFiles = llsyscall.AccessFSReadFile

func existing(paths []string) []string {
	var found []string
	for _, path := range paths {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			found = append(found, path)
		}
	}
	return found
}
