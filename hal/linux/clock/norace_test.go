//go:build !race

package clock

// casts is the number of random lives of a box.
const casts = 10_000
