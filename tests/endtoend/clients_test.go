package endtoend

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"
)

// packages names the Debian package of each program that the tests call.
var packages = map[string]string{
	"swaks": "swaks", "smtp-source": "postfix", "python3": "python3", "openssl": "openssl", "gcore": "gdb",
}

// call runs a program and gives all that it printed; the error says only that
// it failed.
func call(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("the program %s is missing: install the Debian package %s", name, packages[name])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(output), err
}

// swaks sends a message through the relay and gives the session as swaks
// prints it.
func (s *site) swaks(more ...string) (string, error) {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	return call(s.t, "swaks", append([]string{"--server", host, "--port", port, "--helo", "printer",
		"--from", sender, "--to", recipient}, more...)...)
}
