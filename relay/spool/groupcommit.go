package spool

import "time"

const (
	// commitWait is how long the writer waits for another commit.
	commitWait = time.Millisecond
	// growCooldown is the number of commits before expected may grow again.
	growCooldown = 50
	// minGroup is the group size up to which waiting gains nothing.
	minGroup = 2
	// maxGroup limits expected, and so how long the first commit waits.
	maxGroup = 32
)

// groupCommit estimates how many commits will arrive together. The estimate
// grows by one when as many came, and falls by a quarter of the difference when
// fewer came. One or two clients that commit in turn never wait.
type groupCommit struct {
	expected int
	cooldown int // commits until it may grow again
}

// observe updates the estimate after a group for which the writer waited.
func (c *groupCommit) observe(commits int) {
	c.cooldown = max(0, c.cooldown-commits)
	switch {
	case commits < c.expected:
		c.expected = max(1, (3*c.expected+commits)/4)
		c.cooldown = growCooldown
	case c.cooldown == 0 && commits > minGroup:
		c.expected = min(c.expected+1, maxGroup)
	}
}
