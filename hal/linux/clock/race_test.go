//go:build race

package clock

// simulations is smaller because the race detector makes each one slow.
const simulations = 500
