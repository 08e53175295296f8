//go:build !race

package dispatch

// randomRuns is the number of runs with random faults, each with its own seed.
const randomRuns = 6
