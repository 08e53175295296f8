package technician

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
)

// practiceStart is the dialogue of docs/first-start.md, as make boot explains it.
const practiceStart = `
	expect Press Enter to begin
	send
	expect How [1]:
	send
	expect Name of the site
	send
	expect Network [1]:
	send
	expect Accepted domains:
	send practice.example
	expect Delivery method [connector]:
	send
	expect mail host [mail.practice.example]:
	send
	expect Authority [1]:
	send
	expect Paste the certificate
	type <Ctrl-]>a
	expect Certificate [1]:
	send
	expect Paste the PFX
	type <Ctrl-]>p
	expect Password of the PFX
	send practice
	expect It is valid.
	expect Default sender
	send printer@practice.example
	expect Mail address for alerts
	send alerts@practice.example
	expect PIN for this console
	send
	expect Type "apply"
	send apply
	expect The changes are active.
	expect it accepts our mail
	expect No problems found.
	expect Send a test message to [alerts@practice.example]:
	send
	expect delivered
	expect Menu:
	type <Ctrl-]>q
`

func TestMakeBoot_LeadsToADeliveredMessage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "boot")
	if output, err := exec.Command("go", "build", "-o", program, "sealpost/tests/tools/boot").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	// t.TempDir contains the test's name, which is too long for a socket path.
	dir, err := os.MkdirTemp("", "boot")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	boot, terminal := startBoot(t, program, dir)
	if err := terminal.Play(practiceStart); err != nil {
		t.Fatal(err)
	}
	if err := boot.Wait(); err != nil {
		t.Errorf("make boot: got %v, want no error", err)
	}
	if received := "[practice tenant] received mail from <printer@practice.example>"; !strings.Contains(terminal.Transcript(), received) {
		t.Errorf("the transcript lacks %q:\n%s", received, terminal.Transcript())
	}
	t.Logf("from the command to the end: %.1f s", time.Since(start).Seconds())
	saveScreen(t, terminal, "practice.txt")
}

// startBoot starts the program of make boot with one end of a socket pair as its
// terminal, and returns the other end.
func startBoot(t *testing.T, program, dir string) (*exec.Cmd, *machine.Terminal) {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	programEnd, testEnd := os.NewFile(uintptr(ends[0]), "its terminal"), os.NewFile(uintptr(ends[1]), "our terminal")
	conn, err := net.FileConn(testEnd)
	if err != nil {
		t.Fatal(err)
	}
	_ = testEnd.Close()
	boot := exec.Command(program, "-image", lab.Image, "-dir", dir)
	boot.Stdin, boot.Stdout, boot.Stderr = programEnd, programEnd, programEnd
	boot.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	_ = programEnd.Close()
	terminal := machine.NewTerminal(conn)
	t.Cleanup(func() {
		_ = boot.Process.Signal(syscall.SIGTERM)
		_ = boot.Wait()
		_ = terminal.Close()
	})
	return boot, terminal
}
