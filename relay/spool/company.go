package spool

import "time"

const (
	// companyWait is how long the writer waits for one more commit.
	companyWait = time.Millisecond
	// companyRest is how many commits pass before more are waited for again.
	companyRest = 50
	// companyLeast are too few to gain by waiting for each other.
	companyLeast = 2
	// companyMost bounds how long the first of them may have to wait.
	companyMost = 32
)

// company is how many commits are written together, if so many come. It grows
// by one when they did, and goes a quarter of the way back to those that came
// when they did not. One or two clients that commit in turn never wait.
type company struct {
	expected int
	rest     int // commits until it may grow again
}

// met learns from a group that was waited for as long as that seemed worth it.
func (c *company) met(commits int) {
	c.rest = max(0, c.rest-commits)
	switch {
	case commits < c.expected:
		c.expected = max(1, (3*c.expected+commits)/4)
		c.rest = companyRest
	case c.rest == 0 && commits > companyLeast:
		c.expected = min(c.expected+1, companyMost)
	}
}
