package endtoend

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// packages names the Debian package of each program that the tests call.
var packages = map[string]string{
	"swaks": "swaks", "curl": "curl", "msmtp": "msmtp", "smtp-source": "postfix", "python3": "python3", "openssl": "openssl", "gcore": "gdb",
}

// call runs a program and returns its output, standard error included.
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

// swaks sends a message through the relay and returns the session that swaks
// printed.
func (s *site) swaks(more ...string) (string, error) {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	return call(s.t, "swaks", append([]string{"--server", host, "--port", port, "--helo", "printer",
		"--from", sender, "--to", recipient}, more...)...)
}

// smtplib sends a message by Python's smtplib and returns Python's output.
func (s *site) smtplib(message string, recipients ...string) (string, error) {
	s.t.Helper()
	s.write("message", []byte(message))
	return call(s.t, "python3", append([]string{"testdata/send.py", s.address(), s.path("message"), sender}, recipients...)...)
}

// smtpSource sends messages over concurrent sessions.
func (s *site) smtpSource(sessions, messages int) (string, error) {
	s.t.Helper()
	return call(s.t, "smtp-source", "-s", strconv.Itoa(sessions), "-m", strconv.Itoa(messages),
		"-f", sender, "-t", recipient, s.address())
}

// mustDeliver sends a message that must be delivered while the client waits.
func (s *site) mustDeliver() {
	s.t.Helper()
	output, err := s.swaks()
	if err != nil || !strings.Contains(output, "<-  250 2.0.0 accepted by ") {
		s.t.Errorf("swaks: %v, want the reply 250 \"accepted by\"\n%s\n%s", err, output, s.relay.Log)
	}
}

// mustQueue sends a message that cannot be delivered now. The reply and the
// journal must contain the reason.
func (s *site) mustQueue(reason string, more ...string) {
	s.t.Helper()
	queued := len(s.relay.Log.Events("queued"))
	output, err := s.swaks(more...)
	if err != nil || !strings.Contains(output, " is queued and will be sent: ") || !strings.Contains(output, reason) {
		s.t.Errorf("swaks: %v, want the reply \"is queued\" with %q\n%.3000s", err, reason, output)
	}
	event := s.events("queued", queued+1)[queued]
	if why, _ := event["why"].(string); !strings.Contains(why, reason) {
		s.t.Errorf("got event %v, want reason %q", event, reason)
	}
}

// awaitEmpty waits until the queue is empty.
func (s *site) awaitEmpty() {
	s.t.Helper()
	const timeout = 60 * time.Second
	for deadline := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) {
		result := s.run("queue", "list")
		if result.Status == 0 && strings.HasPrefix(result.Out, "0 messages queued") {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the queue is not empty after a minute: %+v\n%s", result, s.relay.Log)
		}
	}
}
