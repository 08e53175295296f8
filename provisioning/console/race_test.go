//go:build race

package console

// With the race detector, noise takes about ten times longer; see norace_test.go.
const noiseSize = 64 << 10
