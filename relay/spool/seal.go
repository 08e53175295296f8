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

// keys seals the data on flash. The nonce consists of the run's epoch and a
// counter within the run, so it is never reused; the associated data is the
// position.
type keys struct {
	aeads   map[cipherSuite]cipher.AEAD
	headers []byte
}

func newKeys(key []byte) (*keys, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the spool key has %d bytes, want %d", len(key), KeySize)
	}
	content, err := hkdf.Key(sha256.New, key, nil, "sealpost spool content", KeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the spool's content key: %w", err)
	}
	headers, err := hkdf.Key(sha256.New, key, nil, "sealpost spool headers", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the spool's header key: %w", err)
	}
	block, err := aes.NewCipher(content)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-GCM: %w", err)
	}
	chacha, err := chacha20poly1305.New(content)
	if err != nil {
		return nil, fmt.Errorf("preparing ChaCha20-Poly1305: %w", err)
	}
	return &keys{map[cipherSuite]cipher.AEAD{aes256GCM: gcm, chaCha20Poly1305: chacha}, headers}, nil
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
func (k *keys) unseal(r run, counter uint32, sealed, data []byte) ([]byte, error) {
	plain, err := k.aeads[r.suite].Open(sealed[:0], nonce(r.epoch, counter), sealed, data)
	if err != nil {
		return nil, errAuthentication
	}
	return plain, nil
}
