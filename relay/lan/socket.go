package lan

import (
	"io"
	"net"
	"time"
)

// firstMail is how long a client may take to its first MAIL. A device has something
// to send when it connects.
const firstMail = time.Minute

// socket is a client's network connection with the time limits of its session.
type socket struct {
	net.Conn
	client *clientConn
	read   []byte // already read

	readDeadline  time.Time // the deadlines that are set
	writeDeadline time.Time
}

// Read reads within the session's time limits.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.read) > 0 {
		n := copy(p, s.read)
		s.read = s.read[n:]
		return n, nil
	}
	c := s.client
	idle := c.sessions.limits.Idle
	if c.idle > 0 {
		idle = min(idle, c.idle)
	}
	deadline := time.Now().Add(idle)
	if by := c.begun.Add(firstMail); c.mailAt.Load() == 0 && by.Before(deadline) {
		deadline = by
	}
	if end := c.begun.Add(c.sessions.limits.Session); end.Before(deadline) {
		deadline = end
	}
	if c.draining.Load() || s.differs(deadline, s.readDeadline) {
		if err := s.Conn.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		s.readDeadline = deadline
	}
	// Checked after the deadline is set, because drain sets the flag first.
	if c.draining.Load() && !c.receiving.Load() {
		return 0, io.EOF
	}
	n, err := s.Conn.Read(p)
	c.octets.Add(int64(n))
	c.lastRead.Store(time.Now().UnixNano())
	return n, err
}

// Write writes within the session's time limits.
func (s *socket) Write(p []byte) (int, error) {
	deadline := time.Now().Add(s.client.sessions.limits.Idle)
	if s.differs(deadline, s.writeDeadline) {
		if err := s.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		s.writeDeadline = deadline
	}
	return s.Conn.Write(p)
}

// differs reports whether a deadline differs enough from the current one to be
// set, which is expensive.
func (s *socket) differs(deadline, set time.Time) bool {
	return deadline.Sub(set).Abs() > min(s.client.sessions.limits.Idle/16, time.Second)
}
