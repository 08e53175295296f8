//go:build !race

package spool

// perCut is how many states are tried after a cut; leastStates how many there
// must be in all.
const perCut, leastStates = 3600, 100_000
