package bundle

import (
	"errors"
	"strings"
	"testing"

	"sealpost/provisioning/user"
)

func FuzzParseUsers(f *testing.F) {
	f.Add([]byte(usersText))
	f.Add([]byte("printer\n#\na b c d\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		changes, faults := parseUsers(text)
		if len(changes) == 0 && len(faults) == 0 {
			t.Error("neither users nor a fault")
		}
		if err := user.Check(changes); err != nil {
			t.Errorf("got users that cannot be stored: %v", err)
		}
		said := errors.Join(faults...)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			const long = 20 // longer than what a text contains by chance
			if said != nil && len(fields) > 1 && len(fields[1]) > long && !strings.Contains(fields[0], fields[1]) && strings.Contains(said.Error(), fields[1]) && strings.Count(string(text), fields[1]) == 1 {
				t.Errorf("a fault shows a password: %v", said)
			}
		}
	})
}
