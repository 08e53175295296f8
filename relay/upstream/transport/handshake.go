package transport

import (
	"crypto"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"time"

	"sealpost/relay/journal"
)

// tlsHandshake is one TLS handshake and what it reveals.
type tlsHandshake struct {
	transport *Transport
	method    Handshake
	record    *journal.Connection
	policy    TLSPolicy
	keyErr    error // why our key could not sign; crypto/tls keeps only the text
}

func (h *tlsHandshake) config() *tls.Config {
	config := &tls.Config{
		ServerName:           h.record.Host,
		RootCAs:              h.transport.config.Roots,
		MinVersion:           tls.VersionTLS12,
		ClientSessionCache:   h.transport.sessions,
		GetClientCertificate: h.clientCertificate,
	}
	if h.policy.Verify != nil {
		// Verify sees a session only once: it is not resumed under another policy.
		config.InsecureSkipVerify, config.VerifyConnection, config.ClientSessionCache = true, h.policy.Verify, nil
	}
	return config
}

// clientCertificate returns our certificate even if the server's list of
// acceptable CAs does not contain its issuer; by default Go would silently send
// none.
func (h *tlsHandshake) clientCertificate(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	h.record.Requested = true
	h.record.Authorities = distinguishedNames(request.AcceptableCAs)
	shown := h.method.Certificate()
	if key, ok := shown.PrivateKey.(crypto.Signer); ok {
		shown.PrivateKey = &journalledKey{key, h}
	}
	return shown, nil
}

// recordState records the state of an established connection.
func (h *tlsHandshake) recordState(state tls.ConnectionState) {
	if !state.HandshakeComplete {
		h.record.TLS = "none"
		return
	}
	h.record.TLS = tls.VersionName(state.Version)
	h.record.Cipher = tls.CipherSuiteName(state.CipherSuite)
	h.record.Peer = state.PeerCertificates[0].Subject.String()
	h.record.Issuer = state.PeerCertificates[0].Issuer.String()
	h.record.Resumed = state.DidResume
	if h.policy.Verify == nil { // else it is never resumed, and there is no end to the hosts
		h.transport.sessions.recordOrigin(h.record)
	}
}

// distinguishedNames decodes the names that a server lists, at most maxNames.
func distinguishedNames(authorities [][]byte) []string {
	const maxNames = 10
	var result []string
	for _, der := range authorities[:min(len(authorities), maxNames)] {
		var sequence pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &sequence); err == nil {
			result = append(result, sequence.String())
		}
	}
	return result
}

// journalledKey journals each signature and keeps the error of a failed one.
type journalledKey struct {
	crypto.Signer
	handshake *tlsHandshake
}

func (k *journalledKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	begun := time.Now()
	signature, err := k.Signer.Sign(rand, digest, opts)
	if err != nil {
		k.handshake.keyErr = &keyFault{err}
	}
	k.handshake.transport.journal.Signed(k.handshake.record.ID, k.handshake.record.Key, err, time.Since(begun))
	return signature, err
}
