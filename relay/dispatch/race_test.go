//go:build race

package dispatch

// With the race detector, a run of random faults is about ten times slower; see
// norace_test.go.
const randomRuns = 2
