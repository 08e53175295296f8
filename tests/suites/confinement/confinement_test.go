//go:build amd64

// Package confinement tries from inside a running relay what somebody would try
// who had taken it over: a debugger's means make one of its threads carry out
// their system calls. It knows the registers of amd64 only.
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
)

// relayUser is who the relay of an appliance is.
const relayUser = 1000

// taken is a relay as an appliance runs it.
type taken struct {
	dir, state, address string
	pid                 atomic.Int64
}

// settings are those of a relay that nobody sends to.
const settings = `
[lan]
smtp = ["%s"]
smtps = []
allow = ["127.0.0.0/8"]

[senders]
accepted_domains = ["contoso.com"]

[upstream.connector]
host = "127.0.0.1"
port = 1

[spool]
size = "8MiB"
`

// startRelay has the first process's own means start the relay, with the rights
// that it has on an appliance.
func startRelay(t *testing.T) *taken {
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
	r := &taken{dir: dir, state: filepath.Join(dir, "state"), address: fmt.Sprintf("127.0.0.1:%d", port)}
	program, err := box.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	chip := parts.StartSwtpm(t)
	flags := []string{"--config=", "--state=" + r.state, "--tpm=" + chip.Address(), "--control=" + filepath.Join(dir, "run", "control.sock")}
	r.setUp(t, program, flags)
	child := &process.Child{
		Name: "relay", Args: append([]string{program, "relay", "--appliance"}, flags...),
		User: relayUser, Group: relayUser, Capabilities: []uintptr{unix.CAP_NET_BIND_SERVICE},
		Started: func(pid int) { r.pid.Store(int64(pid)) },
		Ended:   func(e process.End) { t.Errorf("the relay ended, %s: %s", e.Status, e.Last) },
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

// setUp makes the relay's state, which is all that it owns.
func (r *taken) setUp(t *testing.T, program string, flags []string) {
	t.Helper()
	const size = 16 << 20
	run := filepath.Join(r.dir, "run")
	wanted, err := json.Marshal(map[string]string{"settings": fmt.Sprintf(settings, r.address)})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(r.dir, 0o755), os.WriteFile(r.state, nil, 0o600), os.Truncate(r.state, size), os.Mkdir(run, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	apply := exec.Command(program, append([]string{"apply"}, flags...)...)
	apply.Stdin = bytes.NewReader(wanted)
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("setting the box up: %v\n%s", err, output)
	}
	for _, path := range []string{r.state, run} {
		if err := os.Chown(path, relayUser, relayUser); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitBanner waits until the relay greets.
func (r *taken) awaitBanner(t *testing.T) {
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
			t.Fatalf("the relay does not greet: %q, %v", greeting, err)
		}
	}
}

// inMemory has the thread make a program in memory and execute it.
func (t *thread) inMemory() error {
	name, err := t.text(0, "program")
	if err != nil {
		return err
	}
	fd, err := t.call(unix.SYS_MEMFD_CREATE, name, 0)
	if err != nil {
		return err
	}
	empty, err := t.text(0, "")
	if err != nil {
		return err
	}
	return t.try(unix.SYS_EXECVEAT, fd, empty, 0, 0, unix.AT_EMPTY_PATH)
}

func TestTakenOverRelay_ReachesItsStateAndNothingElse(t *testing.T) {
	r := startRelay(t)
	secret, open := filepath.Join(r.dir, "secret"), filepath.Join(r.dir, "open")
	mine := filepath.Join(r.dir, "run", "mine")
	for path, mode := range map[string]os.FileMode{secret: 0o600, open: 0o666, mine: 0o666} {
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	inside, err := seize(int(r.pid.Load()))
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.open(r.state, unix.O_RDWR); err != nil {
		t.Errorf("its own state: %v", err)
	}
	for what, try := range map[string]func() error{
		"reading another's file":           func() error { return inside.open(secret, unix.O_RDONLY) },
		"reading what anybody may":         func() error { return inside.open(open, unix.O_RDONLY) },
		"writing where anybody may":        func() error { return inside.open(open, unix.O_WRONLY) },
		"reading /etc/passwd":              func() error { return inside.open("/etc/passwd", unix.O_RDONLY) },
		"reading its own memory by a file": func() error { return inside.open("/proc/self/mem", unix.O_RDWR) },
		"reading the first process's":      func() error { return inside.open("/proc/1/environ", unix.O_RDONLY) },
		"reading its own program":          func() error { return inside.open("/proc/self/exe", unix.O_RDONLY) },
		"making a file in its own folder":  func() error { return inside.open(filepath.Join(r.dir, "run", "new"), unix.O_CREAT|unix.O_WRONLY) },
		"making a file in /tmp":            func() error { return inside.open("/tmp/sealpost-new", unix.O_CREAT|unix.O_WRONLY) },
		"making a folder":                  func() error { return inside.at(unix.SYS_MKDIRAT, filepath.Join(r.dir, "run", "folder"), 0o700) },
		"making a device": func() error {
			return inside.at(unix.SYS_MKNODAT, filepath.Join(r.dir, "run", "device"), unix.S_IFCHR, 0)
		},
		"removing its own file":            func() error { return inside.at(unix.SYS_UNLINKAT, mine, 0) },
		"renaming its own file":            func() error { return inside.between(unix.SYS_RENAMEAT2, mine, mine+"2") },
		"linking its own file":             func() error { return inside.between(unix.SYS_LINKAT, mine, mine+"3") },
		"executing a program":              func() error { return inside.at(unix.SYS_EXECVEAT, "/bin/true", 0, 0, 0) },
		"executing itself":                 func() error { return inside.at(unix.SYS_EXECVEAT, "/proc/self/exe", 0, 0, 0) },
		"executing what it made in memory": inside.inMemory,
		"becoming root":                    func() error { return inside.try(unix.SYS_SETUID, 0) },
		"listening to the whole network":   func() error { return inside.try(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"ending another's process":         func() error { return inside.try(unix.SYS_KILL, uintptr(os.Getpid()), 0) },
		"looking into another's process": func() error {
			return inside.try(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getpid()))
		},
		"setting the clock":      func() error { return inside.try(unix.SYS_SETTIMEOFDAY, 0, 0) },
		"restarting the machine": func() error { return inside.try(unix.SYS_REBOOT, 0, 0, 0, 0) },
	} {
		if err := try(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s is not forbidden: %v", what, err)
		}
	}
	if err := inside.release(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(r.dir, "run", "*"))
	if got := strings.Join(left, " "); err != nil || got != filepath.Join(r.dir, "run", "control.sock")+" "+mine {
		t.Errorf("the relay's folder holds %s, %v", got, err)
	}
	r.awaitBanner(t)
}
