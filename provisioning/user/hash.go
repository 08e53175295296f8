package user

import (
	"crypto/rand"
	"crypto/subtle"

	"golang.org/x/crypto/argon2"
)

// Argon2id (RFC 9106) makes guessing expensive for whoever copies the flash. It also
// uses memory, which bcrypt does not, and has no limit of 72 bytes. A hash takes 20 ms
// on a server, and by estimate a tenth of a second on a Raspberry Pi 4.
const (
	hashMemory  = 8 << 10 // KiB
	hashPasses  = 4
	hashThreads = 1
	saltSize    = 16
	digestSize  = 32
	// maxHashMemory and maxHashPasses limit what a stored hash may cost.
	maxHashMemory, maxHashPasses = 64 << 10, 64
)

// hash is the stored form of a password, with its parameters.
type hash struct {
	Kind   string `json:"kind"`
	Memory uint32 `json:"memory"` // KiB
	Passes uint32 `json:"passes"`
	Salt   []byte `json:"salt"`
	Digest []byte `json:"digest"`
}

const argon2id = "argon2id"

func newHash(password string) hash {
	h := hash{Kind: argon2id, Memory: hashMemory, Passes: hashPasses, Salt: make([]byte, saltSize)}
	_, _ = rand.Read(h.Salt)
	h.Digest = h.derive(password)
	return h
}

// decoy is a hash that no password has.
func decoy() hash {
	h := hash{Kind: argon2id, Memory: hashMemory, Passes: hashPasses, Salt: make([]byte, saltSize), Digest: make([]byte, digestSize)}
	_, _ = rand.Read(h.Salt)
	_, _ = rand.Read(h.Digest)
	return h
}

func (h hash) derive(password string) []byte {
	return argon2.IDKey([]byte(password), h.Salt, h.Passes, h.Memory, hashThreads, digestSize)
}

// matches reports whether the password is the hashed one. A damaged hash matches none.
func (h hash) matches(password string) bool {
	usable := h.Kind == argon2id && len(h.Digest) == digestSize && h.Passes > 0 && h.Passes <= maxHashPasses && h.Memory > 0 && h.Memory <= maxHashMemory
	return usable && subtle.ConstantTimeCompare(h.derive(password), h.Digest) == 1
}

// Fingerprint identifies a text with passwords. Guessing them from it costs as much as
// from a stored hash.
func Fingerprint(text, salt []byte) []byte {
	return argon2.IDKey(text, salt, hashPasses, hashMemory, hashThreads, digestSize)
}
