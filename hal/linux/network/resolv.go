//go:build linux

package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// writeResolvConf replaces the resolver's file in one step. Without servers
// the file stays as it is: an empty one means a server on the box itself.
func writeResolvConf(path string, servers []netip.Addr) error {
	if len(servers) == 0 {
		return nil
	}
	var text strings.Builder
	for _, server := range servers[:min(len(servers), maxDNS)] {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	text.WriteString("options timeout:2 attempts:2\n")
	if err := replaceFile(path, text.String()); err != nil {
		return fmt.Errorf("writing the DNS servers to %s: %w", path, err)
	}
	return nil
}

func replaceFile(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // has no effect after the rename
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
