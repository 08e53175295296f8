// Package tpm reaches a TPM 2.0 and implements hal.TPM with it.
//
// It knows the TPM's commands, its storage root key, its sessions and its
// faults. It must not know what a key is for, where an object is stored, or
// what a certificate is.
//
// Trust. Objects carry the public part of the storage root key they were
// wrapped for. The session for an object is salted with that stored public part, so
// that an interposer on the bus that substitutes its own root is detected. ImportKey,
// CreateKey and Seal have nothing stored to compare with: they trust the root that
// the TPM has at that moment, so only a trusted person should do the first import.
// The session protects the bus against eavesdropping and tampering;
// an attacker with the whole running box can still use the key.
package tpm
