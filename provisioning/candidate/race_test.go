//go:build race

package candidate

// The race detector makes each sequence some ten times slower, and looks for
// something else.
const randomSequences = 5_000
