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

// handshake is one TLS handshake and what it lets us know.
type handshake struct {
	transport *Transport
	own       Handshake
	record    *journal.Connection
	fault     error // why our key could not sign; crypto/tls keeps only its text
}

func (h *handshake) config() *tls.Config {
	return &tls.Config{
		ServerName:           h.record.Host,
		RootCAs:              h.transport.config.Roots,
		MinVersion:           tls.VersionTLS12,
		ClientSessionCache:   h.transport.sessions,
		GetClientCertificate: h.show,
	}
}

// show answers the server's request for a certificate. It shows ours even if
// the server's list of acceptable CAs does not name its issuer: Go by itself
// would silently show none.
func (h *handshake) show(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	h.record.Requested = true
	h.record.Authorities = names(request.AcceptableCAs)
	shown := h.own.Certificate()
	if key, ok := shown.PrivateKey.(crypto.Signer); ok {
		shown.PrivateKey = &observedKey{key, h}
	}
	return shown, nil
}

// complete notes what a connection that may carry mail has shown.
func (h *handshake) complete(state tls.ConnectionState) {
	h.record.TLS = tls.VersionName(state.Version)
	h.record.Cipher = tls.CipherSuiteName(state.CipherSuite)
	h.record.Peer = state.PeerCertificates[0].Subject.String()
	h.record.Issuer = state.PeerCertificates[0].Issuer.String()
	h.record.Resumed = state.DidResume
	h.transport.sessions.remember(h.record)
}

// names decodes the distinguished names that a server lists, as many as a
// person would read.
func names(authorities [][]byte) []string {
	const most = 10
	var result []string
	for _, der := range authorities[:min(len(authorities), most)] {
		var sequence pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &sequence); err == nil {
			result = append(result, sequence.String())
		}
	}
	return result
}

// observedKey records each signature and remembers why one failed.
type observedKey struct {
	crypto.Signer
	handshake *handshake
}

func (k *observedKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	begun := time.Now()
	signature, err := k.Signer.Sign(rand, digest, opts)
	if err != nil {
		k.handshake.fault = &keyFault{err}
	}
	k.handshake.transport.journal.Signed(k.handshake.record.ID, k.handshake.record.Key, err, time.Since(begun))
	return signature, err
}
