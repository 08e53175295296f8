package spool

import "time"

const (
	// groupWait is how long the writer waits for one more commit.
	groupWait = time.Millisecond
	// groupRest is how many commits pass before more are waited for again.
	groupRest = 50
	// groupLeast are too few to gain by waiting for each other.
	groupLeast = 2
	// groupMost bounds how long the first of them may have to wait.
	groupMost = 32
)

// groupCommit is how many commits are written together, if so many come. It grows
// by one when they did, and goes a quarter of the way back to those that came
// when they did not. One or two clients that commit in turn never wait.
type groupCommit struct {
	expected int
	rest     int // commits until it may grow again
}

// observe learns from a group that was waited for as long as that seemed worth it.
func (c *groupCommit) observe(commits int) {
	c.rest = max(0, c.rest-commits)
	switch {
	case commits < c.expected:
		c.expected = max(1, (3*c.expected+commits)/4)
		c.rest = groupRest
	case c.rest == 0 && commits > groupLeast:
		c.expected = min(c.expected+1, groupMost)
	}
}
