//go:build race

package spool

// With the race detector, the check of each flash state after a power cut is about ten
// times slower, and fewer states are enough; see norace_test.go.
const perCut, minStates, bitFlips, cutStep, copiedRuns = 20, 500, 100, 12, 50
