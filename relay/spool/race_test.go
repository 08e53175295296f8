//go:build race

package spool

// The race detector makes each state about ten times slower, and fewer states
// are enough for it.
const perCut, minStates, bitFlips, cutStep = 50, 1_500, 250, 12
