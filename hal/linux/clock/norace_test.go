//go:build !race

package clock

// simulations is the number of random simulations of a box.
const simulations = 10_000
