//go:build race

package spool

// The race detector makes each state about ten times slower, and fewer states
// are enough for it.
const perCut, minStates, bitFlips, cutStep, copiedRuns = 50, 1_500, 250, 12, 100
