//go:build linux

package mdns

import (
	"cmp"
	"syscall"

	"golang.org/x/sys/unix"
)

// shareAddress lets other mDNS responders of the machine use the port too.
func shareAddress(_, _ string, raw syscall.RawConn) error {
	var callErr error
	err := raw.Control(func(fd uintptr) {
		callErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return cmp.Or(err, callErr)
}
