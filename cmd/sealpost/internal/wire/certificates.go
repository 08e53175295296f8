package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/relay/journal"
	"sealpost/relay/upstream/connector"
)

// clientIdentity returns the imported certificate with its key; nil if there is
// none, because a connector can also match the site's public address.
func (b *Box) clientIdentity(ctx context.Context, j *journal.Journal) (*connector.Identity, *x509.Certificate, error) {
	client, err := identity.Load(ctx, b.Store)
	if errors.Is(err, identity.ErrNone) {
		j.NoIdentity()
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	signer, err := client.Signer(b.TPM)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the key of the client certificate: %w", err)
	}
	leaf := client.Chain[0]
	connectorIdentity := &connector.Identity{Chain: client.DER(), Key: signer, Name: CommonName(leaf), Label: string(client.Key.Protection)}
	j.Identity(connectorIdentity.Name, connectorIdentity.Label, leaf.NotAfter)
	return connectorIdentity, leaf, nil
}

// CommonName returns the common name of a certificate, or its first DNS name.
func CommonName(leaf *x509.Certificate) string {
	if leaf.Subject.CommonName == "" && len(leaf.DNSNames) > 0 {
		return "DNS=" + leaf.DNSNames[0]
	}
	return "CN=" + leaf.Subject.CommonName
}

// lanCertificates returns the certificates for the LAN; if the TPM is unavailable, an
// ephemeral one, so that devices can still send.
func (b *Box) lanCertificates(ctx context.Context, j *journal.Journal) ([]tls.Certificate, error) {
	names, err := b.lanNames()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, unsealTimeout)
	defer cancel()
	all, err := identity.LAN(ctx, b.Store, b.Sealer(), names)
	if err == nil {
		return all, nil
	}
	j.LANCertificate(err)
	passing, err := identity.Ephemeral(names)
	return []tls.Certificate{passing}, err
}

// lanNames are the names by which devices know the box.
func (b *Box) lanNames() ([]string, error) {
	hostname, err := b.Hostname()
	if err != nil {
		return nil, err
	}
	names := []string{hostname}
	if local := string(b.Settings.Network.Name) + ".local"; local != hostname && local != ".local" {
		names = append(names, local)
	}
	return names, nil
}

// Authority returns the certificate of the box's own CA for the LAN, in PEM.
func (b *Box) Authority(ctx context.Context) ([]byte, error) {
	names, err := b.lanNames()
	if err != nil {
		return nil, err
	}
	ca, err := identity.LANAuthority(ctx, b.Store, b.Sealer(), names)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}

// CheckServer rejects a certificate for the LAN that devices could not use.
func CheckServer(path certificate.Path) error { return identity.CheckServer(path, time.Now()) }

// CheckPath rejects a certificate that Exchange Online could not use.
func CheckPath(path certificate.Path) error {
	leaf, now := path.Chain[0], time.Now()
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate expired on %s: import a newer one, or correct this machine's clock if it is wrong (it says %s)",
			leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	return path.Verify(now, publicRoots())
}

var errNeedsTPM = fault.New(fault.RequestNeedsTPM, `a certificate request needs a TPM; with keys.protection = "file" import a PFX`)

// CheckRequest rejects a certificate request that cannot succeed, before a state or
// a key is created for it. foreign reports that no name is in an accepted domain.
func CheckRequest(s settings.Settings, names []string) (foreign bool, err error) {
	if err := certificate.CheckNames(names); err != nil {
		return false, err
	}
	if s.Keys.Protection == settings.ProtectionFile {
		return false, errNeedsTPM
	}
	template := &x509.Certificate{DNSNames: names}
	return s.Upstream.Method.Traits().ClientCertificate && !slices.ContainsFunc(s.AcceptedDomains(), func(domain settings.Domain) bool {
		return certificate.NameWithin(template, string(domain)) != ""
	}), nil
}

// Examine reports on the client certificate for the connector.
func (b *Box) Examine(client identity.Client) certificate.Report {
	var domains []string
	for _, domain := range b.Settings.AcceptedDomains() {
		domains = append(domains, string(domain))
	}
	protection := client.Key.Protection
	key := certificate.KeyProtection{Label: string(protection), Meaning: protection.Explain(), Level: certificate.OK}
	if protection == keyring.File {
		key.Level = certificate.Note
	}
	return certificate.Examine(client.Chain, time.Now(), domains, b.trustAnchors(), key)
}

// trustAnchors returns the roots we assume the server trusts: a configured host
// trusts its own CA.
func (b *Box) trustAnchors() *x509.CertPool {
	if roots, err := CAPool("upstream.connector", b.Settings.Upstream.Connector.Roots); err == nil && roots != nil {
		return roots
	}
	return publicRoots()
}

// ConnectorName returns the name in the client certificate that a connector
// matches; empty if none is in an accepted domain.
func (b *Box) ConnectorName(ctx context.Context) (string, error) {
	client, err := identity.Load(ctx, b.Store)
	if err != nil {
		return "", err
	}
	for _, domain := range b.Settings.AcceptedDomains() {
		if name := certificate.NameWithin(client.Chain[0], string(domain)); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// Application returns the certificate for token requests, and the protection of its
// key.
func (b *Box) Application(ctx context.Context) (leaf *x509.Certificate, protection string, err error) {
	if b.Settings.Upstream.OAuth.Key == settings.KeyConnector {
		client, err := identity.Load(ctx, b.Store)
		if err != nil {
			return nil, "", err
		}
		return client.Chain[0], string(client.Key.Protection), nil
	}
	name, err := b.Hostname()
	if err != nil {
		return nil, "", err
	}
	application, err := identity.OwnApplication(ctx, b.Store, b.TPM, b.Generator(), name)
	if err != nil {
		return nil, "", err
	}
	return application.Certificate, string(application.Key.Protection), nil
}

// ErrConnectorSigns is returned if the box has no separate certificate to
// renew.
var ErrConnectorSigns = errors.New("upstream.oauth.key is \"connector\", so the client certificate signs: import another one")

// RenewApplication replaces the certificate and key for token requests.
func (b *Box) RenewApplication(ctx context.Context) error {
	if b.Settings.Upstream.OAuth.Key == settings.KeyConnector {
		return ErrConnectorSigns
	}
	name, err := b.Hostname()
	if err != nil {
		return err
	}
	_, err = identity.RenewApplication(ctx, b.Store, b.TPM, b.Generator(), name)
	return err
}

// RequireGrant returns an error if the settings do not use this grant.
func (b *Box) RequireGrant(required settings.Grant) error {
	switch grant := b.Settings.Upstream.OAuth.Grant; {
	case !b.Settings.Upstream.Method.Traits().Mailbox:
		return fmt.Errorf("upstream.method is %q, which needs no access token: set it to %q first", b.Settings.Upstream.Method, settings.MethodSubmission)
	case grant != required:
		return fmt.Errorf("upstream.oauth.grant is %q, which does not use this: set it to %q first", grant, required)
	}
	return nil
}
