// Package tpm reaches a TPM 2.0 and implements hal.TPM with it.
//
// It knows the TPM's commands, its storage root key, its sessions and its
// faults. It must not know what a key is for, where an object is stored, or
// what a certificate is.
//
// Trust. Objects carry the public part of the storage root key they were
// wrapped for. Using one salts the session with that stored public, so that a
// bus interposer that substitutes its own root is detected. ImportKey,
// CreateKey and Seal have nothing stored to compare with: they trust the root
// the TPM shows at that moment, which is why the first import belongs in
// trusted hands. The session defends the bus against listening and tampering;
// an attacker with the whole running box can still use the key.
package tpm
