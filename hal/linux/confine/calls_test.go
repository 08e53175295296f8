package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// freePorts returns two unused ports.
func freePorts() (ports []uint16, err error) {
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// tryPorts uses the first port, which is allowed, and the second, which is not.
func tryPorts(ports []uint16) (wrong []error) {
	allowed, forbidden := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	l, err := net.Listen("tcp", allowed)
	if err != nil {
		return []error{fmt.Errorf("listening on the allowed port: %w", err)}
	}
	defer l.Close()
	conn, err := net.Dial("tcp", allowed)
	if err != nil {
		return []error{fmt.Errorf("connecting to the allowed port: %w", err)}
	}
	conn.Close()
	if _, err := net.Listen("tcp", forbidden); !errors.Is(err, fs.ErrPermission) {
		wrong = append(wrong, fmt.Errorf("listening on a forbidden port: got %w, want permission denied", err))
	}
	if _, err := net.Dial("tcp", forbidden); !errors.Is(err, fs.ErrPermission) {
		wrong = append(wrong, fmt.Errorf("connecting to a forbidden port: got %w, want permission denied", err))
	}
	if _, err := net.InterfaceAddrs(); err != nil {
		wrong = append(wrong, fmt.Errorf("reading the machine's addresses: %w", err))
	}
	return wrong
}

// tryCalls makes every call of the tables with harmless arguments.
func tryCalls() (wrong []error) {
	const none = ^uintptr(0)
	try := func(reason string, call uint32, want unix.Errno, arguments [6]uintptr) {
		_, _, got := unix.RawSyscall6(uintptr(call), arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
		if got != want {
			wrong = append(wrong, fmt.Errorf("call %d (%s): got %v, want %v", call, reason, got, want))
		}
	}
	invalid := [6]uintptr{none, none, none, none, none, none}
	for _, group := range forbidden {
		for _, call := range group.calls {
			try(group.reason, call, group.result, invalid)
		}
	}
	for _, c := range conditions(uint32(unix.Getpid())) {
		arguments := invalid
		arguments[c.argument] = uintptr(^c.value & c.mask)
		try(c.reason, c.call, unix.EPERM, arguments)
	}
	try("a raw socket", unix.SYS_SOCKET, unix.EPERM, [6]uintptr{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP})
	try("a newer call", newest+1, unix.ENOSYS, invalid)
	const execveOfX32 = 1<<30 + 520
	try("another set of numbers", execveOfX32, unix.ENOSYS, invalid)
	return wrong
}

func TestMissing_NamesWhatAnOldKernelLacks(t *testing.T) {
	for version, want := range map[int]string{
		3: "this kernel restricts neither TCP ports nor abstract Unix sockets: its Landlock has version 3, and these need 4 and 6",
		5: "this kernel does not restrict abstract Unix sockets: its Landlock has version 5, and these need 6",
		6: "",
	} {
		got := ""
		if err := missing(version); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("version %d: got %q, want %q", version, got, want)
		}
	}
}
