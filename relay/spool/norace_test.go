//go:build !race

package spool

// perCut is the number of states tried after a cut, minStates the minimum in
// total, bitFlips the number of bits flipped one at a time, and cutStep the
// distance between the calls at which the power is cut.
const perCut, minStates, bitFlips, cutStep = 3600, 100_000, 10_000, 1
