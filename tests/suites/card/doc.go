// Package card starts the images of cards that make card made, in QEMU's emulated
// Raspberry Pi.
package card
