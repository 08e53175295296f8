// Package confine permanently restricts this process to the files, TCP ports and
// system calls that it needs, and prevents it from running other programs.
//
// It knows paths, ports and system calls. It must not know what the process does.
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

// Rights are the files that the process may open and the TCP ports that it may use.
// Missing files are ignored. What is open already stays usable.
type Rights struct {
	ReadWrite []string
	Read      []string
	// ReadIn are folders whose files may all be read, including those that are created
	// or replaced later.
	ReadIn []string
	// Listen and Connect are ports of this machine and of servers.
	Listen, Connect []uint16
}

// Enforce confines every thread of the process: Landlock (landlock(7)) restricts files
// and ports, and a seccomp filter (seccomp(2)) what Landlock does not cover. It fails
// if the kernel does not support both. unsupported describes
// the restrictions that the kernel's Landlock is too old for; it is nil if there are none.
func Enforce(r Rights) (unsupported error, err error) {
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
	for _, port := range r.Listen {
		rules = append(rules, landlock.BindTCP(port))
	}
	for _, port := range r.Connect {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	// A kernel without Landlock must be an error.
	version, err := llsyscall.LandlockGetABIVersion()
	if err != nil {
		return nil, fmt.Errorf("this kernel cannot confine a process to its files: use one with CONFIG_SECURITY_LANDLOCK: %w", err)
	}
	if err := restricted.BestEffort().Restrict(rules...); err != nil {
		return nil, fmt.Errorf("confining the process to its files and ports: %w", err)
	}
	if err := filterCalls(); err != nil {
		return nil, err
	}
	// Its memory must not be dumped, or be readable by its own user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("preventing memory dumps: %w", err)
	}
	return missing(version), nil
}

// restricted is all that Landlock restricts here. Its restriction of signals is left to
// the filter: some kernels also apply it between the threads of one process.
var restricted = landlock.MustConfig(landlock.V11.HandledAccessFS,
	landlock.AccessNetSet(llsyscall.AccessNetBindTCP|llsyscall.AccessNetConnectTCP), landlock.ScopedSet(llsyscall.ScopeAbstractUnixSocket))

// missing returns what the kernel does not restrict, by the version of its Landlock.
func missing(version int) error {
	const ports, abstractSockets = 4, 6
	switch {
	case version < ports:
		return fmt.Errorf("this kernel restricts neither TCP ports nor abstract Unix sockets: its Landlock has version %d, and these need %d and %d", version, ports, abstractSockets)
	case version < abstractSockets:
		return fmt.Errorf("this kernel does not restrict abstract Unix sockets: its Landlock has version %d, and these need %d", version, abstractSockets)
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
