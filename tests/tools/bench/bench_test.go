package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestTheKernelsFiguresAreReadFromTheirPlaces(t *testing.T) {
	got, err := parseTraffic("  1 2 3 4 5 6 70 8 9 10 11 12 13 14 15 16 17\n")
	if err != nil || got != (traffic{70 * 512, 16}) {
		t.Errorf("traffic %+v, %v", got, err)
	}
	p, err := parseProcess([]byte("17 (a ) name) S 4 17 17 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7\n"))
	if err != nil || p != (process{17, 4, 1240 * time.Millisecond}) {
		t.Errorf("process %+v, %v", p, err)
	}
}

func TestAStrangeLineIsAnErrorAndNotAFigure(t *testing.T) {
	for _, line := range []string{"", "1", "1 2 3 4 5 6 7 8 9 10 11", strings.Repeat("x ", 17)} {
		if got, err := parseTraffic(line); err == nil {
			t.Errorf("%q is traffic %+v", line, got)
		}
		if got, err := parseProcess([]byte(line)); err == nil {
			t.Errorf("%q is process %+v", line, got)
		}
	}
}

func TestAFamilyIsAProcessWithAllItsDescendants(t *testing.T) {
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
		if members, err = family(child.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if len(members) != 2 || members[1].parent != child.Process.Pid {
		t.Errorf("the family is %+v", members)
	}
	own, err := memory(os.Getpid())
	if err != nil || own < 1<<20 {
		t.Errorf("this test takes %d bytes, %v", own, err)
	}
}

func TestARunsNameTellsWhatIsSent(t *testing.T) {
	var names []string
	for _, w := range works(options{messages: 2000, only: "1 MiB"}) {
		names = append(names, w.String())
	}
	got := strings.Join(names, "; ")
	if got != "upstream healthy, 1 MiB, 10 clients; upstream down, 1 MiB, 10 clients" {
		t.Errorf("got %q", got)
	}
	if one := works(options{messages: 2000, only: "1 client"}); len(one) != 2 {
		t.Errorf("got %v", one)
	}
}
