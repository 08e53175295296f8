// Package usb detects USB sticks and mounts their file systems.
//
// It knows /sys/block, mount(2), and that a stick can be pulled at any moment.
// It must not know what the files on a stick are for.
package usb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	sysBlock = "/sys/block"
	// pollInterval is the interval of searches for sticks.
	pollInterval = 500 * time.Millisecond
)

// Stick is a USB mass storage device with a medium in it.
type Stick struct {
	Name string // of the disk, such as "sda"
	// sequence identifies the disk across reuse of its name (diskseq).
	sequence string
}

// Watch calls inserted in a separate goroutine for each stick that is or becomes
// plugged in, until ctx ends, and then waits for them. The context of inserted ends
// when the stick is pulled out.
func Watch(ctx context.Context, inserted func(context.Context, Stick)) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	plugged := map[string]context.CancelFunc{} // by the key of the stick
	var handling sync.WaitGroup
	defer handling.Wait()
	defer func() {
		for _, cancel := range plugged {
			cancel()
		}
	}()
	for ctx.Err() == nil {
		present := sticks(sysBlock)
		for key, cancel := range plugged {
			if !slices.ContainsFunc(present, func(s Stick) bool { return s.key() == key }) {
				cancel()
				delete(plugged, key)
			}
		}
		for _, s := range present {
			if _, known := plugged[s.key()]; known {
				continue
			}
			stickCtx, cancel := context.WithCancel(ctx)
			plugged[s.key()] = cancel
			handling.Go(func() { inserted(stickCtx, s) })
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (s Stick) key() string { return s.Name + " " + s.sequence }

// sticks returns the plugged-in sticks, from a folder like /sys/block.
func sticks(blocks string) []Stick {
	entries, err := os.ReadDir(blocks)
	if err != nil {
		return nil
	}
	var found []Stick
	for _, entry := range entries {
		dir := filepath.Join(blocks, entry.Name())
		target, err := filepath.EvalSymlinks(dir)
		if err != nil || !strings.Contains(target, "/usb") || !strings.HasPrefix(entry.Name(), "sd") {
			continue
		}
		// A card reader without a card is a disk of size 0.
		if size := attribute(dir, "size"); size == "" || size == "0" {
			continue
		}
		found = append(found, Stick{entry.Name(), attribute(dir, "diskseq")})
	}
	return found
}

// Devices returns the devices of a disk that may hold a file system: its partitions in their
// order or, where it has none, the disk itself.
func Devices(disk string) ([]string, error) {
	// Opening it waits until the kernel has looked for partitions.
	device, err := os.Open("/dev/" + disk)
	if err != nil {
		return nil, fmt.Errorf("the stick cannot be read: put it in again, or take another one: %w", err)
	}
	if err := device.Close(); err != nil {
		return nil, err
	}
	return devices(filepath.Join(sysBlock, disk), disk), nil
}

func devices(dir, disk string) []string {
	var numbers []int
	paths, _ := filepath.Glob(filepath.Join(dir, disk+"*", "partition"))
	for _, path := range paths {
		if number, err := strconv.Atoi(attribute(filepath.Dir(path), "partition")); err == nil {
			numbers = append(numbers, number)
		}
	}
	if len(numbers) == 0 {
		return []string{"/dev/" + disk}
	}
	slices.Sort(numbers)
	var found []string
	for _, number := range numbers {
		found = append(found, "/dev/"+disk+strconv.Itoa(number))
	}
	return found
}

func attribute(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
