package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// control is a connection to QEMU's machine protocol (QMP).
type control struct {
	conn    net.Conn
	replies chan reply
	done    chan struct{} // closed at the end of the connection

	mu sync.Mutex // held during a command
}

type reply struct {
	Event  string
	Return json.RawMessage
	Error  *struct{ Desc string }
}

// dialControl connects to QEMU at path as soon as it listens, and calls event for
// each QMP event. It fails if QEMU ends.
func dialControl(path string, ended <-chan struct{}, event func(name string)) (*control, error) {
	for deadline := time.Now().Add(WaitLimit); ; {
		conn, err := net.Dial("unix", path)
		if err == nil {
			c := &control{conn: conn, replies: make(chan reply, 1), done: make(chan struct{})}
			go c.read(event)
			if err := c.execute("qmp_capabilities", nil); err != nil {
				c.close()
				return nil, err
			}
			return c, nil
		}
		select {
		case <-ended:
			return nil, errors.New("QEMU ended immediately")
		case <-time.After(pollInterval):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("QEMU does not listen: %w", err)
		}
	}
}

func (c *control) read(event func(name string)) {
	defer close(c.done)
	for decoder := json.NewDecoder(c.conn); ; {
		var r reply
		if decoder.Decode(&r) != nil {
			return
		}
		switch {
		case r.Event != "":
			event(r.Event)
		case r.Return != nil || r.Error != nil: // ignores the greeting
			c.replies <- r
		}
	}
}

// execute runs one command.
func (c *control) execute(command string, arguments map[string]any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	message := map[string]any{"execute": command}
	if len(arguments) > 0 {
		message["arguments"] = arguments
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(WaitLimit))
	if err := json.NewEncoder(c.conn).Encode(message); err != nil {
		return fmt.Errorf("QEMU command %s: %w", command, err)
	}
	select {
	case r := <-c.replies:
		if r.Error != nil {
			return fmt.Errorf("QEMU command %s: %s", command, r.Error.Desc)
		}
		return nil
	case <-c.done:
		return fmt.Errorf("QEMU command %s: it has ended", command)
	case <-time.After(WaitLimit):
		_ = c.conn.Close() // a late reply must not be taken for the next command's
		return fmt.Errorf("QEMU command %s: no answer within %s", command, WaitLimit)
	}
}

func (c *control) close() {
	_ = c.conn.Close()
	<-c.done
}
