package tpm

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// maxAddress bounds an address; a unix socket's path has at most 107 bytes and
// a host name at most 253.
const maxAddress = 512

// maxSocketPath is the longest path Linux takes for a unix socket (unix(7)).
const maxSocketPath = 107

// address is the address of a TPM.
type address struct {
	network string // "device", "unix" or "tcp"
	target  string
}

// parseAddress reads "/dev/tpmrm0", "unix:/path" or "tcp:host:port".
func parseAddress(text string) (address, error) {
	malformed := func(why string) (address, error) {
		return address{}, fmt.Errorf("TPM address %.80q: %s; write /dev/tpmrm0, unix:/path or tcp:host:port", text, why)
	}
	if len(text) > maxAddress || strings.ContainsRune(text, 0) {
		return malformed("it is too long or holds a zero byte")
	}
	if strings.HasPrefix(text, "/") {
		return address{"device", text}, nil
	}
	network, target, _ := strings.Cut(text, ":")
	switch network {
	case "unix":
		if !strings.HasPrefix(target, "/") {
			return malformed("the socket's path must begin with /")
		}
		if len(target) > maxSocketPath {
			return malformed(fmt.Sprintf("a socket's path has at most %d bytes", maxSocketPath))
		}
	case "tcp":
		host, port, err := net.SplitHostPort(target)
		if err != nil || host == "" {
			return malformed("a host and a port must follow tcp:")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return malformed("the port must be a number from 1 to 65535")
		}
	default:
		return malformed("it names neither a device nor a socket")
	}
	return address{network, target}, nil
}
