package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/provisioning/console"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/state"
	"sealpost/relay/control"
)

// cable gives the technician's end of a new serial line, and puts its other
// end at path.
func cable(t *testing.T, path string) *os.File {
	t.Helper()
	end, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() })
	number, err := unix.IoctlGetInt(int(end.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(end.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	// What Fd made blocking could not be waited for with a deadline.
	if err := unix.SetNonblock(int(end.Fd()), true); err != nil {
		t.Fatal(err)
	}
	fresh := path + ".new"
	if err := os.Symlink(fmt.Sprintf("/dev/pts/%d", number), fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
	return end
}

// expect reads until the console has said the words.
func expect(t *testing.T, end *os.File, words string) {
	t.Helper()
	var said strings.Builder
	if err := end.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for p := make([]byte, 1024); !strings.Contains(said.String(), words); {
		n, err := end.Read(p)
		if said.Write(p[:n]); err != nil && !os.IsTimeout(err) && n == 0 && said.Len() == 0 {
			time.Sleep(10 * time.Millisecond) // nobody has opened the other end yet
		} else if err != nil {
			t.Fatalf("%v before %q:\n%s", err, words, said.String())
		}
	}
}

func TestTheConsoleComesBackWithItsLine(t *testing.T) {
	dir := t.TempDir()
	line := filepath.Join(dir, "line")
	o := &options{state: filepath.Join(dir, "box.state"), control: filepath.Join(dir, "control")}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	first := cable(t, line)
	go func() { ended <- serve(ctx, console.New(consoleBox{o}), line) }()
	expect(t, first, "Press Enter")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := cable(t, line)
	expect(t, second, "Press Enter")
	if _, err := second.WriteString("\r"); err != nil {
		t.Fatal(err)
	}
	expect(t, second, "There is no state yet")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoSerialLineIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := serve(t.Context(), console.New(consoleBox{&options{}}), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestWhoseSettingsAreDamagedIsLedToTheButton(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 2*state.AreaSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (consoleBox{&options{state: path}}).Running(t.Context()); err == nil || !strings.Contains(err.Error(), "hold the box's button") {
		t.Errorf("got %v", err)
	}
}

func TestTheConsoleNamesNoCommandThatNobodyThereCanType(t *testing.T) {
	for _, err := range []error{identity.ErrPending, identity.ErrNoRequest, identity.ErrNone, control.ErrNoRelay} {
		if words := inConsoleWords(fmt.Errorf("making a request: %w", err)).Error(); strings.Contains(words, "sealpost") || !strings.Contains(words, "making a request: ") {
			t.Errorf("%v: %s", err, words)
		}
	}
	// Those that words of the relay and of the checks name.
	for _, command := range []string{"certificate show", "certificate import", "check", "spool format --yes", "state erase --yes",
		"tenant certificate --replace", "tenant login", "tenant script", "tenant secret", "tenant verify"} {
		if words := inConsoleWords(fmt.Errorf("it failed: sealpost %s", command)).Error(); !strings.HasSuffix(words, " in the menu") {
			t.Errorf("%s: %s", command, words)
		}
	}
}
