package confine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain runs the attempts in a confined process of this program, because a
// confinement cannot be undone.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CONFINED_TO"); dir != "" {
		fmt.Println(attempts(dir))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempts confines the process and then tries what is allowed and what is not.
func attempts(dir string) error {
	own, secret := filepath.Join(dir, "mine"), filepath.Join(dir, "secret")
	memory, err := inMemory()
	if err != nil {
		return err
	}
	ports, err := freePorts()
	if err != nil {
		return err
	}
	unsupported, err := Enforce(Rights{
		ReadWrite: []string{own, filepath.Join(dir, "absent")}, Read: []string{filepath.Join(dir, "readable")}, ReadIn: []string{filepath.Join(dir, "changing")},
		Listen: ports[:1], Connect: ports[:1],
	})
	if err := errors.Join(err, unsupported); err != nil {
		return err
	}
	var wrong []error
	check := func(what string, err error, allowed bool) {
		if (err == nil) != allowed {
			wrong = append(wrong, fmt.Errorf("%s: %v", what, err))
		}
	}
	open := func(path string, flags int) error {
		file, err := os.OpenFile(path, flags, 0o600)
		if err == nil {
			err = file.Close()
		}
		return err
	}
	check("its own file", open(own, os.O_RDWR), true)
	check("what it may read", open(filepath.Join(dir, "readable"), os.O_RDONLY), true)
	check("what took another file's place", waitFor(filepath.Join(dir, "changing", "later")), true)
	check("writing there", open(filepath.Join(dir, "changing", "later"), os.O_WRONLY), false)
	check("making a file there", open(filepath.Join(dir, "changing", "mine"), os.O_WRONLY|os.O_CREATE), false)
	check("writing what it may read", open(filepath.Join(dir, "readable"), os.O_WRONLY), false)
	check("reading another file", open(secret, os.O_RDONLY), false)
	check("reading /etc/passwd", open("/etc/passwd", os.O_RDONLY), false)
	check("making a file", open(filepath.Join(dir, "new"), os.O_WRONLY|os.O_CREATE), false)
	check("making a folder", os.Mkdir(filepath.Join(dir, "folder"), 0o700), false)
	check("linking", os.Link(own, filepath.Join(dir, "link")), false)
	check("removing", os.Remove(secret), false)
	check("renaming", os.Rename(secret, own), false)
	check("executing", exec.Command("/bin/true").Run(), false)
	check("executing itself", exec.Command("/proc/self/exe").Run(), false)
	check("executing from memory", execute(memory), false)
	wrong = append(wrong, tryPorts(ports)...)
	check("ending listening", ForbidListening(), true)
	_, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	check("listening after the end", err, false)
	wrong = append(wrong, tryCalls()...)
	return errors.Join(wrong...)
}

// waitFor waits until the test process creates a file, and reads it.
func waitFor(path string) error {
	fmt.Println("confined")
	for range 1000 {
		_, err := os.ReadFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fs.ErrNotExist
}

// inMemory copies this program into a file in memory.
func inMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("program", 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "program")
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer program.Close()
	_, err = program.WriteTo(file)
	return file, err
}

// execute starts the program in file without resolving a path.
func execute(file *os.File) error {
	command := exec.Command("/dev/fd/3", "-test.list=none")
	command.ExtraFiles = []*os.File{file}
	return command.Run()
}

func confined(t *testing.T, dir string) string {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "CONFINED_TO="+dir)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stdout := bufio.NewReader(output)
	if line, err := stdout.ReadString('\n'); err != nil || line != "confined\n" {
		t.Fatalf("got %q, %v, want \"confined\"", line, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "changing", "later"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stdout)
	if err := errors.Join(err, command.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, rest)
	}
	return string(rest)
}

func TestEnforce_AllowsOnlyTheProcessesOwnFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mine", "readable", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "changing"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(confined(t, dir)); got != "<nil>" {
		t.Errorf("got %v, want %v", got, "<nil>")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 4 {
		t.Errorf("got files %v, want 4", left)
	}
}

// Without confinement the same attempts succeed, so the other test is meaningful.
func TestExecute_SucceedsWithoutConfinement(t *testing.T) {
	memory, err := inMemory()
	if err != nil {
		t.Fatal(err)
	}
	if err := execute(memory); err != nil {
		t.Error(err)
	}
	if err := exec.Command("/bin/true").Run(); err != nil {
		t.Error(err)
	}
}
