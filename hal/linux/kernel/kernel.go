// Package kernel contains what PID 1 needs of the kernel: pseudo file systems,
// modules, the host name, the kernel log, and restarting.
//
// It knows system calls and paths under /proc, /sys and /dev. It must not know
// what the machine is for.
package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mounts are the pseudo file systems a machine needs; none is on flash.
var mounts = []struct {
	kind, target, options string
	flags                 uintptr
}{
	{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"tmpfs", "/run", "mode=0755,size=4m", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
}

// Mount mounts the pseudo file systems. An existing mount stays.
func Mount() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("creating the mount point %s: %w", m.target, err)
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s on %s: %w", m.kind, m.target, err)
		}
	}
	return nil
}

// LoadModules loads the modules that the file list names, one path a line, in
// its order. A missing list counts as empty: a kernel may have everything built in.
// It continues after a module that fails, because the others may not need it.
func LoadModules(list string) error {
	file, err := os.Open(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the list of modules: %w", err)
	}
	defer file.Close()
	var errs []error
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if path := strings.TrimSpace(lines.Text()); path != "" {
			errs = append(errs, loadModule(path))
		}
	}
	return errors.Join(errs...)
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("loading a kernel module: %w", err)
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading the kernel module %s: %w", path, err)
	}
	return nil
}

// SetHostname sets the host name.
func SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("setting the host name %q: %w", name, err)
	}
	return nil
}

// set writes a value to a control file under /proc or /sys.
func set(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %s: %w", path, value, err)
	}
	return nil
}

// AwaitFile waits until path exists, for timeout at most: drivers create some files
// late.
func AwaitFile(path string, timeout time.Duration) error {
	return await(timeout, func() error {
		_, err := os.Stat(path)
		return err
	})
}

// AwaitDevice waits until the device at path can be read, which may be later than its
// file exists.
func AwaitDevice(path string, timeout time.Duration) error {
	return await(timeout, func() error {
		device, err := os.Open(path)
		if err != nil {
			return err
		}
		return device.Close()
	})
}

// await tries until there is no error, with growing delays.
func await(timeout time.Duration, try func() error) error {
	const first, last = 5 * time.Millisecond, time.Second
	for begun := time.Now(); ; {
		err := try()
		waited := time.Since(begun)
		if err == nil || waited > timeout {
			return err
		}
		time.Sleep(min(max(waited/20, first), last))
	}
}

// Restart restarts the machine at once, without writing out caches: acknowledged data
// has been flushed before.
func Restart() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("restarting the machine: %w", err)
	}
	return nil
}

// Memory returns the memory of the machine in bytes; 0 if unknown.
func Memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// FreeMemory returns the available memory in bytes; 0 if unknown.
func FreeMemory() int64 {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kibibytes int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kibibytes); n == 1 {
			return kibibytes << 10
		}
	}
	return 0
}

// Uptime returns the time since the kernel started.
func Uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
