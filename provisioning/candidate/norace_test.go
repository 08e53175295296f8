//go:build !race

package candidate

// randomSequences is how many random sequences the ConfirmedCommit is held to
// its model in.
const randomSequences = 100_000
