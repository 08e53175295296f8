//go:build race

package spool

// The race detector makes each state about ten times slower, and fewer states
// are enough for it.
const perCut, minStates, bitFlips, cutStep = 200, 5_000, 1_000, 4
