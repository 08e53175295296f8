//go:build race

package clock

// casts is smaller because the race detector makes each one slow.
const casts = 500
