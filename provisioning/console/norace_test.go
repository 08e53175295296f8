//go:build !race

package console

// noiseSize is the number of octets of noise on a line.
const noiseSize = 1 << 20
