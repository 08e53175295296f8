package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParse_ReadsTheKernelsCounters(t *testing.T) {
	got, err := parseTraffic("  1 2 3 4 5 6 70 8 9 10 11 12 13 14 15 16 17\n")
	if err != nil || got != (traffic{70 * 512, 16}) {
		t.Errorf("got traffic %+v, %v, want 35840 bytes and 16 flushes", got, err)
	}
	p, err := parseProcess([]byte("17 (a ) name) S 4 17 17 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7\n"))
	if err != nil || p != (process{17, 4, 1240 * time.Millisecond}) {
		t.Errorf("got process %+v, %v, want 17, parent 4, 1.24 s", p, err)
	}
}

func TestParse_RejectsUnknownLines(t *testing.T) {
	for _, line := range []string{"", "1", "1 2 3 4 5 6 7 8 9 10 11", strings.Repeat("x ", 17)} {
		if got, err := parseTraffic(line); err == nil {
			t.Errorf("parseTraffic(%q): got %+v, want an error", line, got)
		}
		if got, err := parseProcess([]byte(line)); err == nil {
			t.Errorf("parseProcess(%q): got %+v, want an error", line, got)
		}
	}
}

func TestProcessTree_IsAProcessWithAllItsDescendants(t *testing.T) {
	child := exec.Command("sh", "-c", "exec 3<&0; sh -c 'read line <&3; exit' & wait")
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = input.Close(), child.Wait() }()
	var members []process
	for deadline := time.Now().Add(10 * time.Second); len(members) < 2 && time.Now().Before(deadline); {
		if members, err = processTree(child.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if len(members) != 2 || members[1].parent != child.Process.Pid {
		t.Errorf("got processes %+v, want the shell and its child", members)
	}
	own, err := memory(os.Getpid())
	if err != nil || own < 1<<20 {
		t.Errorf("got %d bytes for this process, %v, want at least 1 MiB", own, err)
	}
}

func TestRun_IsNamedAfterItsLoad(t *testing.T) {
	var names []string
	for _, w := range selectedRuns(options{messages: 2000, only: "1 MiB"}) {
		names = append(names, w.String())
	}
	got := strings.Join(names, "; ")
	if got != "upstream healthy, 1 MiB, 10 clients; upstream healthy, 1 MiB, 10 clients, STARTTLS; upstream down, 1 MiB, 10 clients" {
		t.Errorf("got %q, want the three runs with 1 MiB", got)
	}
	if one := selectedRuns(options{messages: 2000, only: "1 client"}); len(one) != 3 {
		t.Errorf("got %v, want three runs", one)
	}
}
