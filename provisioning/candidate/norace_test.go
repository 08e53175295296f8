//go:build !race

package candidate

// randomSequences is the number of random sequences to compare with the model.
const randomSequences = 100_000
