package machine

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// dialogue returns a terminal on a console that asks for a name and greets it.
func dialogue(t *testing.T) *Terminal {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		_ = far.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(far, "Sealpost\r\nname> ")
		name, _ := bufio.NewReader(far).ReadString('\r')
		_, _ = io.WriteString(far, "hello "+strings.TrimSuffix(name, "\r")+"\r\n")
	}()
	terminal := NewTerminal(near)
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}

func TestPlay_FollowsAScriptOrFailsWithTheTranscript(t *testing.T) {
	for _, test := range []struct{ name, script, failure string }{
		{"followed", "# a comment\n\nexpect Sealpost\n  expect name>\nsend Contoso Leeds\nexpect hello Contoso Leeds\n", ""},
		{"empty line sent", "send\nexpect hello \n", ""},
		{"a text that does not follow", "expect name>\nsend x\nexpect goodbye\n", "line 3 of the script, expect goodbye"},
		{"a text that came before", "expect name>\nsend x\nexpect Sealpost\n", "line 3"},
		{"not a step", "wait name>\n", "unknown step"},
	} {
		t.Run(test.name, func(t *testing.T) {
			terminal := dialogue(t)
			err := terminal.Play(test.script)
			if test.failure == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.failure) {
				t.Fatalf("got %v, want %s", err, test.failure)
			}
			if strings.Contains(test.script, "send x") && !strings.Contains(err.Error(), "Sealpost\r\nname> hello x") {
				t.Errorf("the transcript is incomplete: %v", err)
			}
		})
	}
}
