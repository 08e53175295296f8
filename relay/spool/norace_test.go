//go:build !race

package spool

// perCut is the number of states tried after a cut, minStates the minimum in
// total, bitFlips the number of bits flipped one at a time, cutStep the distance
// between the calls at which the power is cut, and copiedRuns the number of runs
// between which old copies of the flash are restored.
const perCut, minStates, bitFlips, cutStep, copiedRuns = 3600, 100_000, 10_000, 1, 10_000
