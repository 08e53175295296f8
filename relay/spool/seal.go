package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"
)

// KeySize is the length of the spool key in bytes.
const KeySize = 32

// tagSize is the length of the authentication tag in bytes.
const tagSize = 16

type cipherSuite byte

const (
	aes256GCM cipherSuite = 1 + iota
	chaCha20Poly1305
)

func (c cipherSuite) String() string {
	switch c {
	case aes256GCM:
		return "AES-256-GCM"
	case chaCha20Poly1305:
		return "ChaCha20-Poly1305"
	}
	return fmt.Sprintf("cipher %d", byte(c))
}

// fastest returns the fastest cipher for this processor: AES if it has AES
// instructions (a Pi 4 has none), else ChaCha20.
func fastest() cipherSuite {
	if cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL {
		return aes256GCM
	}
	return chaCha20Poly1305
}

// ciphers makes the AEAD of each suite from a key of KeySize bytes.
var ciphers = map[cipherSuite]func(key []byte) (cipher.AEAD, error){
	aes256GCM: func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	},
	chaCha20Poly1305: chacha20poly1305.New,
}

// keys derives what seals the data on flash from the spool's key. Each run has a
// key of its own, derived from the random salt in its header. The nonce consists of
// the run's epoch and a counter within the run, and the associated data is the
// position.
type keys struct {
	ciphers  map[cipherSuite]func(key []byte) (cipher.AEAD, error)
	runs     []byte // derives the key of each run
	version1 []byte // the key of all runs of format version 1
	headers  []byte
}

func newKeys(key []byte) (*keys, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the spool key has %d bytes, want %d", len(key), KeySize)
	}
	k := &keys{ciphers: maps.Clone(ciphers)}
	for label, derived := range map[string]*[]byte{
		"sealpost spool runs":    &k.runs,
		"sealpost spool content": &k.version1,
		"sealpost spool headers": &k.headers,
	} {
		var err error
		if *derived, err = hkdf.Key(sha256.New, key, nil, label, KeySize); err != nil {
			return nil, fmt.Errorf("deriving the key %q: %w", label, err)
		}
	}
	return k, nil
}

// aead returns what seals a run with that salt, or for nil a run of format version
// 1.
func (k *keys) aead(suite cipherSuite, salt []byte) (cipher.AEAD, error) {
	key := k.version1
	if salt != nil {
		var err error
		if key, err = hkdf.Expand(sha256.New, k.runs, suite.String()+" "+string(salt), KeySize); err != nil {
			return nil, fmt.Errorf("deriving the key of a run: %w", err)
		}
	}
	return k.ciphers[suite](key)
}

func (k *keys) mac(header []byte) []byte {
	h := hmac.New(sha256.New, k.headers)
	h.Write(header)
	return h.Sum(nil)[:macSize]
}

func nonce(epoch uint64, counter uint32) []byte {
	n := binary.LittleEndian.AppendUint64(make([]byte, 0, 12), epoch)
	return binary.LittleEndian.AppendUint32(n, counter)
}

// pieceAAD returns the associated data of a piece, which binds it to one place
// in one message.
func pieceAAD(at int64, id ID, index uint32) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 21), uint64(at))
	b = binary.LittleEndian.AppendUint64(b, uint64(id))
	return append(binary.LittleEndian.AppendUint32(b, index), 'p')
}

// manifestAAD returns the associated data of a manifest: its frame's offset and
// prefix.
func manifestAAD(at int64, prefix []byte) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 9+prefixSize), uint64(at))
	return append(append(b, prefix...), 'm')
}

var errAuthentication = errors.New("authentication failed: the data differs from what was written")

// unseal decrypts sealed in place.
func (r run) unseal(counter uint32, sealed, data []byte) ([]byte, error) {
	plain, err := r.aead.Open(sealed[:0], nonce(r.epoch, counter), sealed, data)
	if err != nil {
		return nil, errAuthentication
	}
	return plain, nil
}
