package confinement

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// relayName is the name in the relay's certificate.
const relayName = "relay.contoso.com"

// trustClock is the argument with which this test program starts another one for which
// the clock is synchronized, as on a box that has queried a time server.
const trustClock = "trust-the-clock"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == trustClock {
		if err := pretendSynchronized(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, syscall.Exec(os.Args[2], os.Args[2:], os.Environ()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pretendSynchronized makes adjtimex succeed on this thread and what it executes. The
// structure stays zero, so no flag says that the clock is not synchronized.
func pretendSynchronized() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_ADJTIMEX},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); err != 0 {
		return fmt.Errorf("installing the filter: %w", err)
	}
	return nil
}

// copyTest copies this test's program to where the relay's user may execute it.
func copyTest(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	copied, err := os.OpenFile(filepath.Join(dir, "test"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if _, err := io.Copy(copied, self); err != nil {
		t.Fatal(err)
	}
	return copied.Name()
}

// startTenant starts a tenant that accepts the relay's certificate.
func startTenant(t *testing.T) (*parts.Authority, *tenant.Tenant) {
	t.Helper()
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.IssueP256(nil, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := tenant.Start(tenant.Config{Certificate: server, ClientCAs: authority.Pool(),
		AcceptedDomains: []string{"contoso.com"}, Connector: relayName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	return authority, upstream
}

// deliver sends a message and waits until the tenant has as many as wanted.
func (r *confinedRelay) deliver(t *testing.T, want int) {
	t.Helper()
	const timeout = 20 * time.Second
	client, err := load.Dial(r.address, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(load.NewMessage("test", 1<<10)); err != nil {
		t.Fatalf("sending a message to the relay: %v", err)
	}
	for deadline := time.Now().Add(timeout); len(r.tenant.Messages()) < want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the tenant got %d messages after %s, want %d", len(r.tenant.Messages()), timeout, want)
		}
	}
}
