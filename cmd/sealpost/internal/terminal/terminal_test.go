package terminal

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// pseudoTerminal returns both ends of a pseudo-terminal.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close(); _ = person.Close() })
	return person, program
}

func echoes(t *testing.T, file *os.File) bool {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return modes.Lflag&unix.ECHO != 0
}

func awaitEcho(t *testing.T, file *os.File, want bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); echoes(t, file) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the terminal's echo did not become %v", want)
		}
	}
}

func TestPassword_IsReadWithoutEchoAndTheTerminalRestored(t *testing.T) {
	for name, c := range map[string]struct {
		act   func(person *os.File)
		want  string
		fails string
	}{
		"answered":    {func(person *os.File) { _, _ = person.WriteString("correct horse\n") }, "correct horse", ""},
		"interrupted": {func(*os.File) { _ = syscall.Kill(os.Getpid(), syscall.SIGINT) }, "", "interrupted: nothing was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			others := goleak.IgnoreCurrent()
			person, program := pseudoTerminal(t)
			command := &cobra.Command{}
			command.SetContext(t.Context())
			command.SetIn(program)
			command.SetErr(&bytes.Buffer{})
			var acting sync.WaitGroup
			acting.Go(func() {
				awaitEcho(t, program, false)
				c.act(person)
			})
			got, err := Password(command, "Password of the PFX", "")
			if got != c.want || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %q, %v, want %q, error %q", got, err, c.want, c.fails)
			}
			acting.Wait()
			awaitEcho(t, program, true)
			// An interrupted reader ends only now; before that its descriptor must
			// not be given to another terminal.
			_, _ = person.WriteString("\n")
			goleak.VerifyNone(t, others)
		})
	}
}

func TestPassword_IsTheFirstLineOfItsInput(t *testing.T) {
	for given, want := range map[string]string{"x y\nrest": "x y", "dos\r\n": "dos", "no end": "no end", "\n": "", "": ""} {
		path := t.TempDir() + "/password"
		if err := os.WriteFile(path, []byte(given), 0o600); err != nil {
			t.Fatal(err)
		}
		command := &cobra.Command{}
		command.SetIn(strings.NewReader(given))
		fromFile, err := Password(command, "Password of the PFX", path)
		if err != nil || fromFile != want {
			t.Errorf("%q in a file: got %q, %v, want %q", given, fromFile, err, want)
		}
		fromInput, err := Password(command, "Password of the PFX", "")
		if err != nil || fromInput != want {
			t.Errorf("%q on standard input: got %q, %v, want %q", given, fromInput, err, want)
		}
	}
}

func TestPassword_IsReadFromWindowsFiles(t *testing.T) {
	path := t.TempDir() + "/password"
	for given, want := range map[string]string{"\ufeffsecret\r\n": "secret", "\xff\xfes\x00": ""} {
		if err := os.WriteFile(path, []byte(given), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Password(&cobra.Command{}, "Password of the PFX", path)
		if got != want || (err != nil) != (want == "") || err != nil && !strings.Contains(err.Error(), "save it as UTF-8") {
			t.Errorf("%q: got %q, %v, want %q", given, got, err, want)
		}
	}
}

func TestNewPassword_IsTypedTwice(t *testing.T) {
	for typed, want := range map[string]string{"correct horse\ncorrect horse\n": "", "correct horse\ncorrect house\n": "the two are different"} {
		person, program := pseudoTerminal(t)
		command := &cobra.Command{}
		command.SetContext(t.Context())
		command.SetIn(program)
		command.SetErr(&bytes.Buffer{})
		// The terminal holds the second line until it is asked for.
		if _, err := person.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		got, err := NewPassword(command, "Password", "")
		if got != "correct horse" || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want an error with %q", typed, got, err, want)
		}
	}
}
