package parts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// Authority is a certificate authority for one test run.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	chain       [][]byte // DER, from this authority up, without the root
}

// NewAuthority creates a root.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &Authority{key: key}
	root.Certificate, err = root.sign(authorityTemplate(name), nil, key.Public())
	return root, err
}

// Intermediate creates an authority below this one.
func (a *Authority) Intermediate(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(authorityTemplate(name), a.Certificate, key.Public())
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, append([][]byte{certificate.Raw}, a.chain...)}, nil
}

// Impostor creates an authority below this one with the name and key identifier of
// another, but a different key.
func (a *Authority) Impostor(other *Authority) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := authorityTemplate(other.Certificate.Subject.CommonName)
	template.SubjectKeyId = other.Certificate.SubjectKeyId
	certificate, err := a.sign(template, a.Certificate, key.Public())
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, append([][]byte{certificate.Raw}, a.chain...)}, nil
}

// Pool returns a pool with only this authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// PEM returns the authority's certificate in PEM.
func (a *Authority) PEM() []byte {
	return PEM(a.Certificate.Raw)
}

// PEM encodes certificates, given in DER, in PEM.
func PEM(certificates ...[]byte) []byte {
	var text []byte
	for _, der := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// Issue issues a certificate for key, valid for all uses for a year from
// yesterday. The caller can change it before it is signed.
func (a *Authority) Issue(key crypto.Signer, change func(*x509.Certificate), names ...string) (tls.Certificate, error) {
	template := leafTemplate(names)
	if change != nil {
		change(template)
	}
	leaf, err := a.sign(template, a.Certificate, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, a.chain...), PrivateKey: key, Leaf: leaf}, nil
}

// SignRequest signs a PKCS#10 request in PEM. It returns the certificate, alone and in
// PEM with its chain without the root.
func (a *Authority) SignRequest(request []byte) (*x509.Certificate, []byte, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, nil, fmt.Errorf("not a certificate request in PEM: %.100q", request)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading a certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, fmt.Errorf("checking the signature of a certificate request: %w", err)
	}
	leaf, err := a.sign(leafTemplate(csr.DNSNames), a.Certificate, csr.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	return leaf, PEM(append([][]byte{leaf.Raw}, a.chain...)...), nil
}

// IssueP256 is Issue with a new P-256 key.
func (a *Authority) IssueP256(change func(*x509.Certificate), names ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	return a.Issue(key, change, names...)
}

// IssueRSA2048 is Issue with a new RSA key of 2048 bits.
func (a *Authority) IssueRSA2048(names ...string) (tls.Certificate, error) {
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return tls.Certificate{}, err
	}
	return a.Issue(key, nil, names...)
}

// PFX returns a PKCS#12 file with a certificate, its key and its chain.
func PFX(certificate tls.Certificate, password string) ([]byte, error) {
	var chain []*x509.Certificate
	for _, der := range certificate.Certificate[1:] {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, parsed)
	}
	return pkcs12.Modern.Encode(certificate.PrivateKey, certificate.Leaf, chain, password)
}

// Certify issues a certificate for a public key, as for a certificate request.
func (a *Authority) Certify(key crypto.PublicKey, names ...string) (*x509.Certificate, error) {
	return a.sign(leafTemplate(names), a.Certificate, key)
}

func leafTemplate(names []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		NotBefore:   time.Now().AddDate(0, 0, -1),
		NotAfter:    time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().AddDate(0, 0, -1),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign signs with this authority's key; a root signs itself.
func (a *Authority) sign(template, issuer *x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}
