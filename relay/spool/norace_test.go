//go:build !race

package spool

// perCut is how many states are tried after a cut; leastStates how many there
// must be in all; bitFlips how many bits are flipped, one at a time.
const perCut, leastStates, bitFlips = 3600, 100_000, 10_000
