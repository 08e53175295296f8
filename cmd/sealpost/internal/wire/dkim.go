package wire

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/dkimkey"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/relay/dkim"
	"sealpost/relay/envelope"
	"sealpost/relay/header"
	"sealpost/relay/upstream/direct"
	"sealpost/relay/upstream/dns"
)

// DKIMGenerator makes DKIM keys as the settings require: RSA in the TPM, and Ed25519, which
// no TPM holds, sealed by it.
func (b *Box) DKIMGenerator() dkimkey.Generator {
	return func(ctx context.Context, algorithm dkimkey.Algorithm, binding []byte) (crypto.PublicKey, keyring.Key, error) {
		inFile := b.Settings.Keys.Protection == settings.ProtectionFile
		if algorithm == dkimkey.RSA && !inFile {
			stored, err := keyring.Generate(ctx, b.TPM, hal.RSA2048)
			if err != nil {
				return nil, stored, err
			}
			signer, err := keyring.Open(b.TPM, stored, binding)
			if err != nil {
				return nil, stored, err
			}
			return signer.Public(), stored, nil
		}
		key, err := newDKIMKey(algorithm)
		if err != nil {
			return nil, keyring.Key{}, fmt.Errorf("generating the key: %w", err)
		}
		if private, ok := key.(ed25519.PrivateKey); ok {
			defer clear(private)
		}
		public := key.Public()
		if inFile {
			stored, err := keyring.ProtectInFile(key, binding)
			return public, stored, err
		}
		stored, err := keyring.Seal(ctx, b.TPM, key, binding)
		return public, stored, err
	}
}

func newDKIMKey(algorithm dkimkey.Algorithm) (crypto.Signer, error) {
	if algorithm == dkimkey.Ed25519 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	const bits = 2048 // RFC 8301 section 3.2
	return rsa.GenerateKey(rand.Reader, bits)
}

// DKIMLookup looks up key records.
func (b *Box) DKIMLookup() dkimkey.Lookup { return dns.New(b.Settings.Upstream.DNS).TXT }

// dkimInterval is how long a change of the stored keys may go unnoticed.
const dkimInterval = 2 * time.Second

// dkimSigner signs mail by the active DKIM keys, in the domains in which their records were
// found. It notices a rotation by another process within seconds, and is safe for
// concurrent use.
type dkimSigner struct {
	box    *Box
	report func(error)

	mu      sync.Mutex // held while the settings area is read, never while signing
	checked time.Time
	version string
	loaded  bool
	signer  *dkim.Signer // nil signs nothing
	domains []string
	failure string // the last one that was reported
}

var _ direct.Signer = (*dkimSigner)(nil)

// newDKIMSigner returns a signer for a relay. report is called for each new reason why mail
// is not signed.
func newDKIMSigner(b *Box, report func(error)) *dkimSigner {
	return &dkimSigner{box: b, report: report}
}

// Sign implements direct.Signer. It returns the content without a signature if no keys are
// active, or none for the domain of the author, or if its header cannot be signed. The
// error is that of the key, which may be temporary, of the settings area, or of the content.
func (s *dkimSigner) Sign(_ envelope.Envelope, content envelope.Content) (envelope.Content, error) {
	signer, domains, err := s.current()
	if err != nil || signer == nil {
		return content, err
	}
	author, err := header.AuthorDomain(content)
	if errors.Is(err, header.ErrTooLarge) {
		return content, nil
	}
	if err != nil {
		return nil, err
	}
	domain := dkimkey.SigningDomain(author, domains)
	if domain == "" {
		return content, nil
	}
	signed, err := signer.Sign(content, domain)
	if errors.Is(err, dkim.ErrLargeHeader) || errors.Is(err, dkim.ErrNoAuthor) {
		return content, nil // an error would hold all mail for this message
	}
	return signed, err
}

// current returns the active keys, and reads them again if they may have changed. After an
// error those read before stay in use.
func (s *dkimSigner) current() (*dkim.Signer, []string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded && time.Since(s.checked) < dkimInterval {
		return s.signer, s.domains, nil
	}
	s.checked = time.Now()
	version, err := s.box.Store.Version() // first: a change meanwhile is noticed the next time
	if err == nil && s.loaded && version == s.version {
		return s.signer, s.domains, nil
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		s.fail(err)
		if !s.loaded {
			return nil, nil, err
		}
		return s.signer, s.domains, nil
	}
	s.version, s.loaded = version, true
	return s.signer, s.domains, nil
}

// load reads the active keys. The caller holds mu.
func (s *dkimSigner) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), LockTimeout)
	defer cancel()
	keys, err := dkimkey.Load(ctx, s.box.Store)
	if err != nil {
		return err
	}
	if keys.Active == nil {
		s.signer, s.domains = nil, nil
		s.fail(errUnsigned)
		return nil
	}
	var all []dkim.Key
	for _, key := range keys.Active.Keys {
		signer, err := key.Signer(s.box.TPM)
		if err != nil {
			return err
		}
		all = append(all, dkim.Key{Signer: signer, Selector: key.Selector})
	}
	signer, err := dkim.New(all...)
	if err != nil {
		return err
	}
	s.signer, s.failure = signer, ""
	s.domains = slices.DeleteFunc(slices.Clone(keys.Active.Domains), func(domain string) bool {
		return !slices.Contains(s.box.Settings.DKIMDomains(), settings.Domain(domain))
	})
	return nil
}

var errUnsigned = errors.New("no DKIM keys are active, so mail is sent without a signature: publish their records and activate them")

// fail reports a failure once. The caller holds mu.
func (s *dkimSigner) fail(err error) {
	if text := err.Error(); text != s.failure {
		s.failure = text
		s.report(err)
	}
}
