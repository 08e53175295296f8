// Package hal defines the interfaces of a box's parts: its flash and its TPM.
//
// It knows only interfaces and the plain values they exchange. It must not
// know how a part is reached, what Linux is, or what uses it, and it imports
// nothing of Sealpost's.
package hal
