//go:build race

package spool

// The race detector makes each state some ten times slower, and looks for
// something else.
const perCut, leastStates, bitFlips = 200, 5_000, 1_000
