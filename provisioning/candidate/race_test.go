//go:build race

package candidate

// randomSequences is smaller because the race detector makes each sequence about ten
// times slower.
const randomSequences = 1_000
