package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// diskSize is enough for a ring of 1 GiB and for the files of the benchmark.
const diskSize = 3 << 30

// disk is an ext4 on a loop device, whose counters show what is written.
type disk struct {
	dir    string // where it is mounted
	device string // such as "loop0"
}

// newDisk creates a disk in an unlinked file in dir. The kernel frees it with the
// mount namespace.
func newDisk(dir string) (*disk, error) {
	image := filepath.Join(dir, "image")
	d := &disk{dir: filepath.Join(dir, "disk")}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(image)
	if err := os.Truncate(image, diskSize); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		return nil, err
	}
	// Without lazy initialisation, ext4 does not write in the background.
	noLazyInit := "lazy_itable_init=0,lazy_journal_init=0"
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-E", noLazyInit, image},
		{"mount", "-o", "loop", image, d.dir},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("making a file system on a loop device, which a container needs --privileged for: %s: %w: %s",
				command[0], err, strings.TrimSpace(string(output)))
		}
	}
	var err error
	d.device, err = deviceOf(d.dir)
	return d, err
}

// deviceOf returns the name of the block device of a mounted folder.
func deviceOf(dir string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return "", err
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return "", fmt.Errorf("finding the loop device: %w", err)
	}
	return filepath.Base(link), nil
}

// empty removes everything on the disk.
func (d *disk) empty() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "lost+found" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// traffic counts the writes to a block device.
type traffic struct{ bytes, flushes int64 }

func (t traffic) minus(earlier traffic) traffic {
	return traffic{t.bytes - earlier.bytes, t.flushes - earlier.flushes}
}

// syncedTraffic syncs the file system and reads the counters of the device.
func (d *disk) syncedTraffic() (traffic, error) {
	folder, err := os.Open(d.dir)
	if err != nil {
		return traffic{}, err
	}
	defer folder.Close()
	if err := unix.Syncfs(int(folder.Fd())); err != nil {
		return traffic{}, fmt.Errorf("syncing the file system: %w", err)
	}
	text, err := os.ReadFile(filepath.Join("/sys/block", d.device, "stat"))
	if err != nil {
		return traffic{}, err
	}
	return parseTraffic(string(text))
}

// parseTraffic reads a block device's stat file (Linux,
// Documentation/block/stat.rst): field 7 is sectors of 512 bytes written,
// field 16 flush requests.
func parseTraffic(stat string) (traffic, error) {
	const sectors, flushes, sectorSize = 7, 16, 512
	fields := strings.Fields(stat)
	if len(fields) < flushes {
		return traffic{}, fmt.Errorf("the kernel does not count flushes; it must be 5.5 or later: %q", stat)
	}
	var t traffic
	if _, err := fmt.Sscan(fields[sectors-1]+" "+fields[flushes-1], &t.bytes, &t.flushes); err != nil {
		return traffic{}, fmt.Errorf("reading a device's counters: %w: %q", err, stat)
	}
	t.bytes *= sectorSize
	return t, nil
}
