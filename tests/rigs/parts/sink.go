package parts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sink is smtp-sink, the final destination behind a server. It stores each message
// in a file.
type sink struct {
	port    int
	dir     string
	program *exec.Cmd
}

// startSink starts a sink that stores messages in a folder, which other users must
// be able to enter.
func startSink(dir string) (*sink, error) {
	if _, err := exec.LookPath("smtp-sink"); err != nil {
		return nil, fmt.Errorf("the program smtp-sink is missing: install the Debian package postfix: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start smtp-sink: run the tests as root, such as in a container")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if output, err := exec.Command("chown", "postfix", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, output)
	}
	s := &sink{port: port, dir: dir}
	s.program = exec.Command("smtp-sink", "-u", "postfix", "-d", filepath.Join(dir, "%s."), fmt.Sprintf("127.0.0.1:%d", port), "100")
	if err := s.program.Start(); err != nil {
		return nil, fmt.Errorf("starting smtp-sink: %w", err)
	}
	if err := await("smtp-sink did not start", func() bool { return Listens(port) }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// messages waits until n messages have arrived and returns their full text.
func (s *sink) messages(n int) ([]string, error) {
	const timeout = time.Minute
	var texts []string
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(s.dir, "*"))
		if err != nil {
			return nil, err
		}
		texts = texts[:0]
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			// smtp-sink writes a message as it arrives and ends it with a blank line.
			if strings.HasSuffix(string(text), "\n\n") {
				texts = append(texts, string(text))
			}
		}
		if len(texts) >= n {
			return texts, nil
		}
	}
	return texts, fmt.Errorf("got %d messages within %s, want %d", len(texts), timeout, n)
}

func (s *sink) close() {
	_ = s.program.Process.Kill()
	_ = s.program.Wait()
}
