package confinement

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/relay/control"
)

// address puts the IPv4 address 127.0.0.1 with a port into the process.
func (t *thread) address(port int) (at, size uintptr, err error) {
	data := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(data, unix.AF_INET)
	binary.BigEndian.PutUint16(data[2:], uint16(port))
	copy(data[4:], net.IPv4(127, 0, 0, 1).To4())
	at, err = t.putBytes(0, data)
	return at, uintptr(len(data)), err
}

// withSocket has the thread open a TCP socket, call use with it and an address, and
// close it.
func (t *thread) withSocket(port int, use func(fd, at, size uintptr) error) error {
	fd, err := t.call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	at, size, err := t.address(port)
	if err == nil {
		err = use(fd, at, size)
	}
	return errors.Join(err, t.try(unix.SYS_CLOSE, fd))
}

func (t *thread) connect(port int) error {
	return t.withSocket(port, func(fd, at, size uintptr) error { return t.try(unix.SYS_CONNECT, fd, at, size) })
}

func (t *thread) bind(port int) error {
	return t.withSocket(port, func(fd, at, size uintptr) error { return t.try(unix.SYS_BIND, fd, at, size) })
}

// listen has the kernel choose a port, without bind.
func (t *thread) listen() error {
	return t.withSocket(0, func(fd, _, _ uintptr) error { return t.try(unix.SYS_LISTEN, fd, 1) })
}

// fastOpen connects by TCP Fast Open, which needs no connect.
func (t *thread) fastOpen(port int) error {
	return t.withSocket(port, func(fd, at, size uintptr) error {
		return t.try(unix.SYS_SENDTO, fd, at, 1, unix.MSG_FASTOPEN, at, size)
	})
}

func TestCompromisedRelay_CanUseOnlyItsPorts(t *testing.T) {
	r := startRelay(t)
	r.deliver(t, 1)
	// The health check connects to the relay's own listeners.
	if err := (control.Client{Socket: filepath.Join(r.dir, "run", "control.sock")}).Health(t.Context()); err != nil {
		t.Errorf("the health check: got %v, want no error", err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	otherPort := other.Addr().(*net.TCPAddr).Port
	thread, err := seize(int(r.pid.Load()))
	if err != nil {
		t.Fatal(err)
	}
	if err := thread.connect(r.tenant.Address().Port); err != nil {
		t.Errorf("connecting to the tenant: got %v, want no error", err)
	}
	const free = 2525
	for name, attempt := range map[string]func() error{
		"connecting to another port":              func() error { return thread.connect(otherPort) },
		"connecting to another port by Fast Open": func() error { return thread.fastOpen(otherPort) },
		"listening on another port":               func() error { return thread.bind(free) },
		"listening on any port":                   func() error { return thread.bind(0) },
		"listening without a port of its own":     thread.listen,
		"listening on the tenant's port":          func() error { return thread.bind(r.tenant.Address().Port) },
	} {
		if err := attempt(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got error %v, want %v", name, err, fs.ErrPermission)
		}
	}
	if err := thread.release(); err != nil {
		t.Fatal(err)
	}
	r.deliver(t, 2)
}

func TestCompromisedRelay_CanOpenOnlySocketsThatItNeeds(t *testing.T) {
	r := startRelay(t)
	thread, err := seize(int(r.pid.Load()))
	if err != nil {
		t.Fatal(err)
	}
	type socket struct{ family, kind, protocol uintptr }
	for name, s := range map[string]socket{
		"TCP":                        {unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, unix.IPPROTO_TCP},
		"TCP over IPv6":              {unix.AF_INET6, unix.SOCK_STREAM, 0},
		"UDP":                        {unix.AF_INET, unix.SOCK_DGRAM, 0},
		"a Unix socket, for the TPM": {unix.AF_UNIX, unix.SOCK_STREAM, 0},
		"routing, for the subnets":   {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
	} {
		fd, err := thread.call(unix.SYS_SOCKET, s.family, s.kind, s.protocol)
		if err == nil {
			err = thread.try(unix.SYS_CLOSE, fd)
		}
		if err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	for name, s := range map[string]socket{
		"raw IP":                     {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"packets":                    {unix.AF_INET, unix.SOCK_PACKET, 0},
		"ping":                       {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
		"MPTCP, which has all ports": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
		"SCTP":                       {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
		"kernel events":              {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT},
		"the kernel's cryptography":  {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"the hypervisor":             {unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		"Bluetooth":                  {unix.AF_BLUETOOTH, unix.SOCK_RAW, 1},
		"CAN":                        {unix.AF_CAN, unix.SOCK_RAW, 1},
	} {
		if err := thread.try(unix.SYS_SOCKET, s.family, s.kind, s.protocol); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got error %v, want %v", name, err, fs.ErrPermission)
		}
	}
	if err := thread.release(); err != nil {
		t.Fatal(err)
	}
}

// The arguments do no harm where a call is not refused.
func TestCompromisedRelay_CanMakeOnlyCallsThatItNeeds(t *testing.T) {
	r := startRelay(t)
	thread, err := seize(int(r.pid.Load()))
	if err != nil {
		t.Fatal(err)
	}
	const none = ^uintptr(0)
	for name, call := range map[string][]uintptr{
		"tracing":                      {unix.SYS_PTRACE, none, none, none, none},
		"reading another's memory":     {unix.SYS_PROCESS_VM_READV, none, none, none, none, none, none},
		"writing another's memory":     {unix.SYS_PROCESS_VM_WRITEV, none, none, none, none, none, none},
		"opening another process":      {unix.SYS_PIDFD_OPEN, none, none},
		"signalling the process group": {unix.SYS_KILL, 0, 0},
		"starting a process":           {unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0},
		"a thread in its own network":  {unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_NEWNET, 0, 0, 0, 0},
		"mounting":                     {unix.SYS_MOUNT, none, none, none, none, none},
		"unmounting":                   {unix.SYS_UMOUNT2, none, none},
		"opening a file system":        {unix.SYS_FSOPEN, none, none},
		"opening a mount":              {unix.SYS_OPEN_TREE, none, none, none},
		"changing a mount":             {unix.SYS_MOUNT_SETATTR, none, none, none, none, none},
		"changing the root":            {unix.SYS_CHROOT, none},
		"loading a module":             {unix.SYS_FINIT_MODULE, none, none, none},
		"loading a kernel":             {unix.SYS_KEXEC_LOAD, none, none, none, none},
		"programming the kernel":       {unix.SYS_BPF, none, none, none},
		"measuring the kernel":         {unix.SYS_PERF_EVENT_OPEN, none, none, none, none, none},
		"handling page faults":         {unix.SYS_USERFAULTFD, 0},
		"queueing system calls":        {unix.SYS_IO_URING_SETUP, none, none},
		"using keys":                   {unix.SYS_KEYCTL, none, none, none, none, none},
		"entering a namespace":         {unix.SYS_SETNS, none, none},
		"leaving a namespace":          {unix.SYS_UNSHARE, 0},
		"swapping":                     {unix.SYS_SWAPON, none, none},
		"adjusting a clock":            {unix.SYS_CLOCK_ADJTIME, none, none},
		"setting a clock":              {unix.SYS_CLOCK_SETTIME, none, none},
		"naming the machine":           {unix.SYS_SETHOSTNAME, none, none},
		"opening a file by its handle": {unix.SYS_OPEN_BY_HANDLE_AT, none, none, none},
		"another personality":          {unix.SYS_PERSONALITY, none},
		"quotas":                       {unix.SYS_QUOTACTL, none, none, none, none},
		"accounting":                   {unix.SYS_ACCT, none},
		"reading the kernel's log":     {unix.SYS_SYSLOG, 10, 0, 0},
		"using ports of the processor": {unix.SYS_IOPL, 0},
		"memory with new code":         {unix.SYS_MMAP, 0, pageSize, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, none, 0},
		"shared memory":                {unix.SYS_SHMGET, unix.IPC_PRIVATE, pageSize, 0o700},
		"attaching shared memory":      {unix.SYS_SHMAT, none, 0, 0},
		"a message queue":              {unix.SYS_MSGGET, none, 0},
		"turning memory into code":     {unix.SYS_MPROTECT, thread.page, pageSize, unix.PROT_READ | unix.PROT_EXEC},
	} {
		if err := thread.try(call[0], call[1:]...); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got error %v, want %v", name, err, fs.ErrPermission)
		}
	}
	if err := thread.release(); err != nil {
		t.Fatal(err)
	}
}
