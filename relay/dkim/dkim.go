// Package dkim signs messages by DKIM (RFC 6376), with RSA (RFC 8301) and Ed25519
// (RFC 8463).
//
// It knows which fields are signed, canonicalization, and the field DKIM-Signature. It
// must not know where keys are stored, what is published in DNS, or which domain signs a
// message: its caller passes them.
package dkim

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"sealpost/relay/envelope"
	"sealpost/relay/header"
)

// Key is a key that signs, published under its selector in each domain that signs. Its
// public key is an *rsa.PublicKey or an ed25519.PublicKey.
type Key struct {
	crypto.Signer
	Selector string
}

// Signer signs messages with one signature for each of its keys. It is safe for concurrent
// use if its keys are.
type Signer struct{ keys []signingKey }

// signingKey is a key with its algorithm, the tag a= of its signatures.
type signingKey struct {
	Key
	algorithm string
	hash      crypto.Hash // of what the key gets; 0 if it hashes by itself
}

// New returns a signer with at least one key.
func New(keys ...Key) (*Signer, error) {
	s := &Signer{}
	for _, key := range keys {
		if key.Selector == "" {
			return nil, errors.New("a DKIM key has no selector")
		}
		switch public := key.Public().(type) {
		case *rsa.PublicKey:
			s.keys = append(s.keys, signingKey{key, "rsa-sha256", crypto.SHA256})
		case ed25519.PublicKey:
			s.keys = append(s.keys, signingKey{key, "ed25519-sha256", 0})
		default:
			return nil, fmt.Errorf("DKIM has no signatures of %T keys: use RSA or Ed25519", public)
		}
	}
	if len(s.keys) == 0 {
		return nil, errors.New("DKIM needs a key")
	}
	return s, nil
}

// ErrNoAuthor is returned for a message without the field From, which every signature
// must cover (RFC 6376 section 5.4).
var ErrNoAuthor = errors.New("the message has no author to sign")

// Sign returns the message with a signature of domain by each key before it. It reads the
// content once, and not for sending: by its method Inspect if it has one. The same content
// gets the same signatures.
//
// The content must consist of lines that end in CRLF, without octets above 127 and with at
// most 998 octets each: a server on the way that changes them makes the signatures invalid
// (RFC 6376 section 5.3). The error is [ErrNoAuthor], [ErrLargeHeader], that of reading, or
// wraps that of the key.
func (s *Signer) Sign(content envelope.Content, domain string) (envelope.Content, error) {
	r := bufio.NewReaderSize(header.Inspect(content), chunkSize)
	header, err := readHeader(r)
	if err != nil {
		return nil, fmt.Errorf("reading the header to sign it: %w", err)
	}
	if len(header["from"]) == 0 {
		return nil, ErrNoAuthor
	}
	bodyHash, err := hashBody(r)
	if err != nil {
		return nil, fmt.Errorf("reading the body to sign it: %w", err)
	}
	names := header.signedNames()
	canonical := header.canonical(names)
	var fields []byte
	for _, key := range s.keys {
		field := unsignedField(key, domain, names, bodyHash)
		digest := sha256.New()
		digest.Write(canonical)
		// RFC 6376 section 3.7: with an empty b= and without the CRLF at the end.
		digest.Write(bytes.TrimSuffix(relaxedField([]byte(field)), crlf))
		signature, err := key.Sign(rand.Reader, digest.Sum(nil), key.hash)
		if err != nil {
			return nil, fmt.Errorf("signing with the DKIM key of %s: %w", key.Selector, err)
		}
		fields = append(fields, field...)
		fields = append(fields, folded(base64.StdEncoding.EncodeToString(signature))...)
		fields = append(fields, crlf...)
	}
	return signedContent{content, fields}, nil
}

var crlf = []byte("\r\n")

// lineLength is the number of octets after which a field is folded (RFC 5322 section
// 2.1.1).
const lineLength = 76

// unsignedField returns the field DKIM-Signature up to its empty tag b= (RFC 6376 section
// 3.5). It has no t= and no x=, so that a message that is retried for days stays valid, and
// no l=, with which text could be appended.
func unsignedField(key signingKey, domain string, names []string, bodyHash []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed;\r\n d=%s;\r\n s=%s;\r\n h=", key.algorithm, domain, key.Selector)
	column := len(" h=")
	for i, name := range names {
		if i > 0 {
			b.WriteByte(':')
			column++
		}
		if column+len(name) > lineLength {
			b.WriteString("\r\n ")
			column = 1
		}
		b.WriteString(name)
		column += len(name)
	}
	fmt.Fprintf(&b, ";\r\n bh=%s;\r\n b=", base64.StdEncoding.EncodeToString(bodyHash))
	return b.String()
}

// folded folds a long word anywhere, as base64 in a tag may be.
func folded(word string) string {
	var b strings.Builder
	for room := lineLength - len(" b="); len(word) > room; room = lineLength {
		b.WriteString(word[:room] + "\r\n ")
		word = word[room:]
	}
	b.WriteString(word)
	return b.String()
}

// signedContent is content with signatures before it.
type signedContent struct {
	content envelope.Content
	fields  []byte
}

// Open implements envelope.Content.
func (s signedContent) Open() io.Reader { return s.before(s.content.Open()) }

// Inspect returns a reader of the content for another purpose than sending.
func (s signedContent) Inspect() io.Reader { return s.before(header.Inspect(s.content)) }

func (s signedContent) before(rest io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(s.fields), rest)
}

// Size implements envelope.Content.
func (s signedContent) Size() int64 { return int64(len(s.fields)) + s.content.Size() }
