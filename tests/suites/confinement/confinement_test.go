//go:build amd64

// Package confinement checks the sandbox of the relay as an attacker with code
// execution would: ptrace makes one of its threads execute system calls. It knows
// only the registers of amd64.
package confinement

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/hal/linux/process"
	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// relayUser is the user ID of the relay on an appliance.
const relayUser = 1000

// confinedRelay is a relay as an appliance runs it.
type confinedRelay struct {
	dir, state, address string
	tenant              *tenant.Tenant
	pid                 atomic.Int64
}

// settings are for a relay with this address, port of the tenant and authority.
const settings = `
[lan]
smtp = ["%s"]
smtps = []
allow = ["127.0.0.0/8"]

[senders]
accepted_domains = ["contoso.com"]

[upstream.connector]
host = "localhost"
port = %d
ca = """
%s"""

[spool]
size = "8MiB"
`

// startRelay starts the relay as PID 1 does, with the privileges that it has on an
// appliance.
func startRelay(t *testing.T) *confinedRelay {
	t.Helper()
	dir, err := os.MkdirTemp("", "confined")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	r := &confinedRelay{dir: dir, state: filepath.Join(dir, "state"), address: fmt.Sprintf("127.0.0.1:%d", port)}
	program, err := box.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	tpm := parts.StartSwtpmTCP(t)
	flags := []string{"--config=", "--state=" + r.state, "--tpm=" + tpm.Address(), "--control=" + filepath.Join(dir, "run", "control.sock")}
	r.setUp(t, program, flags)
	child := &process.Child{
		Name: "relay", Args: append([]string{copyTest(t, dir), trustClock, program, "relay", "--appliance"}, flags...),
		User: relayUser, Group: relayUser, Capabilities: []uintptr{unix.CAP_NET_BIND_SERVICE},
		Started: func(pid int) { r.pid.Store(int64(pid)) },
		Ended:   func(e process.End) { t.Errorf("the relay exited, %s: %s", e.Status, e.Last) },
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		child.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	r.awaitBanner(t)
	return r
}

// setUp creates the relay's state, the only file that it owns.
func (r *confinedRelay) setUp(t *testing.T, program string, flags []string) {
	t.Helper()
	const size = 16 << 20
	run := filepath.Join(r.dir, "run")
	var authority *parts.Authority
	authority, r.tenant = startTenant(t)
	client, err := authority.IssueP256(nil, relayName)
	if err != nil {
		t.Fatal(err)
	}
	client.Certificate = append(client.Certificate, authority.Certificate.Raw)
	const password = "secret"
	pfx, err := parts.PFX(client, password)
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(map[string]any{"pfx": pfx, "password": password,
		"settings": fmt.Sprintf(settings, r.address, r.tenant.Address().Port, authority.PEM())})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(r.dir, 0o755), os.WriteFile(r.state, nil, 0o600), os.Truncate(r.state, size), os.Mkdir(run, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	apply := exec.Command(program, append([]string{"apply"}, flags...)...)
	apply.Stdin = bytes.NewReader(input)
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("setting the box up: %v\n%s", err, output)
	}
	for _, path := range []string{r.state, run} {
		if err := os.Chown(path, relayUser, relayUser); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitBanner waits until the relay sends its greeting.
func (r *confinedRelay) awaitBanner(t *testing.T) {
	t.Helper()
	const timeout = 10 * time.Second
	greeting := make([]byte, len("220 "))
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", r.address, timeout)
		if err == nil {
			_ = conn.SetDeadline(deadline)
			_, err = io.ReadFull(conn, greeting)
			_ = conn.Close()
		}
		if err == nil && string(greeting) == "220 " {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got greeting %q, %v, want 220", greeting, err)
		}
	}
}

// execMemfd has the thread create a program in memory and execute it.
func (t *thread) execMemfd() error {
	name, err := t.putString(0, "program")
	if err != nil {
		return err
	}
	fd, err := t.call(unix.SYS_MEMFD_CREATE, name, 0)
	if err != nil {
		return err
	}
	empty, err := t.putString(0, "")
	if err != nil {
		return err
	}
	return t.try(unix.SYS_EXECVEAT, fd, empty, 0, 0, unix.AT_EMPTY_PATH)
}

func TestCompromisedRelay_CanOpenOnlyItsState(t *testing.T) {
	r := startRelay(t)
	private, public := filepath.Join(r.dir, "private"), filepath.Join(r.dir, "public")
	own := filepath.Join(r.dir, "run", "own")
	for path, mode := range map[string]os.FileMode{private: 0o600, public: 0o666, own: 0o666} {
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	thread, err := seize(int(r.pid.Load()))
	if err != nil {
		t.Fatal(err)
	}
	if err := thread.open(r.state, unix.O_RDWR); err != nil {
		t.Errorf("opening its state: got %v, want no error", err)
	}
	for name, attempt := range map[string]func() error{
		"reading a file of another user":   func() error { return thread.open(private, unix.O_RDONLY) },
		"reading a world-readable file":    func() error { return thread.open(public, unix.O_RDONLY) },
		"writing a world-writable file":    func() error { return thread.open(public, unix.O_WRONLY) },
		"reading /etc/passwd":              func() error { return thread.open("/etc/passwd", unix.O_RDONLY) },
		"reading its memory by /proc":      func() error { return thread.open("/proc/self/mem", unix.O_RDWR) },
		"reading the environment of PID 1": func() error { return thread.open("/proc/1/environ", unix.O_RDONLY) },
		"reading its own program":          func() error { return thread.open("/proc/self/exe", unix.O_RDONLY) },
		"creating a file in its folder":    func() error { return thread.open(filepath.Join(r.dir, "run", "new"), unix.O_CREAT|unix.O_WRONLY) },
		"creating a file in /tmp":          func() error { return thread.open("/tmp/sealpost-new", unix.O_CREAT|unix.O_WRONLY) },
		"creating a folder":                func() error { return thread.callAt(unix.SYS_MKDIRAT, filepath.Join(r.dir, "run", "folder"), 0o700) },
		"creating a device": func() error {
			return thread.callAt(unix.SYS_MKNODAT, filepath.Join(r.dir, "run", "device"), unix.S_IFCHR, 0)
		},
		"removing its own file":         func() error { return thread.callAt(unix.SYS_UNLINKAT, own, 0) },
		"renaming its own file":         func() error { return thread.callAt2(unix.SYS_RENAMEAT2, own, own+"2") },
		"linking its own file":          func() error { return thread.callAt2(unix.SYS_LINKAT, own, own+"3") },
		"executing a program":           func() error { return thread.callAt(unix.SYS_EXECVEAT, "/bin/true", 0, 0, 0) },
		"executing itself":              func() error { return thread.callAt(unix.SYS_EXECVEAT, "/proc/self/exe", 0, 0, 0) },
		"executing a program in memory": thread.execMemfd,
		"becoming root":                 func() error { return thread.try(unix.SYS_SETUID, 0) },
		"opening a packet socket":       func() error { return thread.try(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"killing another process":       func() error { return thread.try(unix.SYS_KILL, uintptr(os.Getpid()), 0) },
		"tracing another process": func() error {
			return thread.try(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getpid()))
		},
		"setting the clock":      func() error { return thread.try(unix.SYS_SETTIMEOFDAY, 0, 0) },
		"restarting the machine": func() error { return thread.try(unix.SYS_REBOOT, 0, 0, 0, 0) },
	} {
		if err := attempt(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got error %v, want %v", name, err, fs.ErrPermission)
		}
	}
	if err := thread.release(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(r.dir, "run", "*"))
	if got := strings.Join(left, " "); err != nil || got != filepath.Join(r.dir, "run", "control.sock")+" "+own {
		t.Errorf("the relay's folder: got %s, %v, want only control.sock and own", got, err)
	}
	r.awaitBanner(t)
}
