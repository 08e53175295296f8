package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// privateNetworks are those for which the box's own CA may issue: RFC 1918, RFC 3927,
// RFC 4193 and the loopback and link-local networks.
var privateNetworks = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128")

func networks(texts ...string) []*net.IPNet {
	var all []*net.IPNet
	for _, text := range texts {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			panic(err)
		}
		all = append(all, network)
	}
	return all
}

// template returns what all certificates for the LAN have in common. They are valid even
// if the clock of the box or a device is wrong.
func template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil
}

// signAuthority makes the certificate of a CA that may issue only server certificates
// for these names and for private networks (RFC 5280 section 4.2.1.10). Whoever has its
// key cannot impersonate other servers to a device that trusts it.
//
// The constraint is not critical, although the RFC requires it: TLS libraries of many
// devices do not know it, and reject a certificate with an unknown critical extension.
func signAuthority(key crypto.Signer, names []string) (*x509.Certificate, error) {
	t, err := template()
	if err != nil {
		return nil, err
	}
	t.Subject = pkix.Name{CommonName: "Sealpost CA " + hex.EncodeToString(t.SerialNumber.FillBytes(make([]byte, 16))[:4])}
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.BasicConstraintsValid, t.IsCA, t.MaxPathLenZero = true, true, true
	t.PermittedIPRanges = slices.Clone(privateNetworks)
	for _, name := range append(slices.Clone(names), "localhost") {
		if ip := net.ParseIP(name); ip == nil {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, strings.ToLower(name))
		} else if !within(privateNetworks, ip) {
			t.PermittedIPRanges = append(t.PermittedIPRanges, only(ip))
		}
	}
	return sign(t, t, key.Public(), key)
}

// only is the network of one address.
func only(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	bits := 8 * len(ip)
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}
}

func within(networks []*net.IPNet, ip net.IP) bool {
	return slices.ContainsFunc(networks, func(network *net.IPNet) bool { return network.Contains(ip) })
}

// permits reports whether a CA may issue for the names.
func permits(ca *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		if ip := net.ParseIP(name); ip != nil {
			return !within(ca.PermittedIPRanges, ip)
		}
		name = strings.ToLower(name)
		return !slices.ContainsFunc(ca.PermittedDNSDomains, func(domain string) bool {
			return name == domain || strings.HasSuffix(name, "."+domain)
		})
	})
}

// covers reports whether a certificate is for these names.
func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return leaf.VerifyHostname(name) != nil })
}

// forServer makes a template one for a server of these names.
func forServer(t *x509.Certificate, names []string, key crypto.PublicKey) {
	const maxCommonName = 64 // RFC 5280 appendix A.1, ub-common-name-length
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	// OpenSSL compares a common name with the DNS constraints, even if it is an address.
	if len(t.DNSNames) > 0 && len(t.DNSNames[0]) <= maxCommonName {
		t.Subject = pkix.Name{CommonName: t.DNSNames[0]}
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if _, isRSA := key.(*rsa.PublicKey); isRSA {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
}

// signServer makes a server certificate under the CA.
func signServer(ca *x509.Certificate, caKey crypto.Signer, key crypto.PublicKey, names []string) (*x509.Certificate, error) {
	t, err := template()
	if err != nil {
		return nil, err
	}
	forServer(t, names, key)
	return sign(t, ca, key, caKey)
}

func sign(t, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, by)
	if err != nil {
		return nil, fmt.Errorf("signing a LAN certificate: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading a LAN certificate: %w", err)
	}
	return parsed, nil
}

// Ephemeral returns a new certificate that is not stored, for a box whose own cannot be
// opened. It is self-signed, so that it costs one key.
func Ephemeral(names []string) (tls.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the LAN key: %w", err)
	}
	t, err := template()
	if err != nil {
		return tls.Certificate{}, err
	}
	forServer(t, names, key.Public())
	leaf, err := sign(t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
