//go:build !quick

package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watch runs a shell script as a child and returns its starts and ends.
func watch(t *testing.T, script string) (child *Child, starts chan int, ends chan End) {
	t.Helper()
	starts, ends = make(chan int, 100), make(chan End, 100)
	child = &Child{Name: "test", Args: []string{"/bin/sh", "-c", script},
		Started: func(pid int) { starts <- pid }, Ended: func(e End) { ends <- e }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { child.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return child, starts, ends
}

func await[T any](t *testing.T, c chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened in 10 s")
		panic("unreachable")
	}
}

func TestChild_RestartsAfterAGrowingPause(t *testing.T) {
	_, _, ends := watch(t, "echo last output; exit 3")
	first, second := await(t, ends), await(t, ends)
	if first.Status != "exit status 3" || !strings.Contains(first.Last, "last output") {
		t.Errorf("got end %+v, want exit status 3 with the last output", first)
	}
	if second.Delay != 2*first.Delay {
		t.Errorf("delays %v, %v", first.Delay, second.Delay)
	}
}

func TestChild_RestartsAfterAKill(t *testing.T) {
	child, starts, ends := watch(t, "exec sleep 100")
	first := await(t, starts)
	child.Kill()
	if end := await(t, ends); end.Status != "signal: killed" {
		t.Errorf("got end %+v, want signal: killed", end)
	}
	if second := await(t, starts); second == first {
		t.Error("the same process")
	}
}

func TestRestart_IsNotReportedAsAnEnd(t *testing.T) {
	child, starts, ends := watch(t, "exec sleep 100")
	for range 5 {
		await(t, starts)
		child.Restart()
	}
	await(t, starts)
	if len(ends) != 0 {
		t.Errorf("got end %+v, want none", <-ends)
	}
	child.Kill()
	if end := await(t, ends); end.Delay != firstDelay {
		t.Errorf("the delay grew to %v", end.Delay)
	}
}

func TestRestart_ResetsThePauseOfAFailedChild(t *testing.T) {
	child, _, ends := watch(t, "exit 1")
	for await(t, ends).Delay < 2*time.Second {
	}
	child.Restart()
	if next := await(t, ends); next.Delay != firstDelay {
		t.Errorf("got delay %v after Restart, want %v", next.Delay, firstDelay)
	}
}

func TestChild_ReportsAProgramThatCannotStart(t *testing.T) {
	ends := make(chan End, 10)
	child := &Child{Name: "test", Args: []string{"/no/such/program"}, Ended: func(e End) { ends <- e }}
	ctx, cancel := context.WithCancel(t.Context())
	go child.Run(ctx)
	defer cancel()
	if end := await(t, ends); !strings.Contains(end.Status, "/no/such/program") {
		t.Errorf("got %+v", end)
	}
}

func TestChild_KeepsOnlyTheEndOfItsOutput(t *testing.T) {
	_, _, ends := watch(t, "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end; exit 1")
	if end := await(t, ends); len(end.Last) > keptOutput || !strings.HasSuffix(end.Last, "end\n") {
		t.Errorf("%d bytes kept", len(end.Last))
	}
}

// A subreaper (prctl(2)) becomes the parent of its descendants' orphans, like PID 1.
func TestReapOrphans_LeavesOwnChildrenAlone(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	go ReapOrphans(t.Context())
	for range 20 {
		// The orphan must not hold the pipe open.
		command := exec.Command("/bin/sh", "-c", "sleep 0.05 >/dev/null & echo $!; exit 7")
		var out strings.Builder
		command.Stdout = &out
		if err := Run(command); command.ProcessState == nil || command.ProcessState.ExitCode() != 7 {
			t.Fatalf("our own child's end was taken by the reaper: %v", err)
		}
		orphan := "/proc/" + strings.TrimSpace(out.String())
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(orphan); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is still there", orphan)
			}
		}
	}
}

func TestRestart_TerminatesTheChildGracefully(t *testing.T) {
	trapped := filepath.Join(t.TempDir(), "asked")
	child, starts, _ := watch(t, "trap 'touch "+trapped+"; exit' TERM; echo ready >&2; while :; do sleep 0.01; done")
	await(t, starts)
	for child.output.String() == "" {
		time.Sleep(time.Millisecond)
	}
	child.Restart()
	await(t, starts)
	if _, err := os.Stat(trapped); err != nil {
		t.Error(err)
	}
}
