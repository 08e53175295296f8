package preflight

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// Network checks the network configuration; trouble is a text for people.
func Network(method string, addresses []netip.Prefix, trouble string) []Finding {
	all := Addresses(method, addresses)
	switch {
	case trouble != "":
		return problem("%s", trouble)
	case all == "":
		return problem("the box has no address: check the cable, and that a DHCP server answers or a static address is set")
	}
	return ok("%s", all)
}

// methodNames are the methods of an address, for people.
var methodNames = map[string]string{"dhcp": "DHCP", "static": "static", "link-local": "link-local"}

// Addresses lists the addresses and their method for people, such as
// "10.0.0.5/24 (DHCP)". It leaves out link-local IPv6 addresses, which every port has.
func Addresses(method string, addresses []netip.Prefix) string {
	var all []string
	for _, a := range addresses {
		text := a.String()
		if a.Addr().Is4() && methodNames[method] != "" {
			text += " (" + methodNames[method] + ")"
		}
		if a.Addr().Is4() || !a.Addr().IsLinkLocalUnicast() {
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

// Clock checks whether the time is trusted.
func Clock(trusted bool, doubt string) []Finding {
	switch {
	case trusted:
		return ok("it is set")
	case doubt != "":
		return problem("it is not set yet, and no mail is sent until it is: %s", doubt)
	}
	return problem("it is not set yet, and no mail is sent until it is: wait a minute, or set it by hand")
}

// TPM checks the state of the TPM.
func TPM(state hal.TPMState) []Finding {
	if state == hal.TPMReady {
		return ok("ready")
	}
	return problem("%s: %s", state, state.Advice())
}

// Certificate converts the findings of an examination.
func Certificate(report certificate.Report) []Finding {
	findings := ok("%s, until %s, key %s", report.Subject, report.NotAfter.Format("2006-01-02"), certificate.KeyPlace(report.Protection))
	for _, f := range report.Findings {
		if f.Level != certificate.OK {
			findings = append(findings, Finding{Level: f.Level, Text: f.Text})
		}
	}
	return findings
}

// NoCertificate is the finding for a box without a certificate.
func NoCertificate() []Finding {
	return note("there is none: import one, or have the tenant's connector identify this site by its public IP address")
}

// Spool checks the free space of the spool.
func Spool(messages int, room, size int64) []Finding {
	noun := "messages"
	if messages == 1 {
		noun = "message"
	}
	free := fmt.Sprintf("%d %s queued, room for %d MiB", messages, noun, room>>20)
	if room < size/10 {
		return problem("%s of %d MiB: look at the queue to find out why mail is not sent", free, size>>20)
	}
	return ok("%s", free)
}

// SpoolOpening is the finding while a new spool is formatted or an old one read,
// which takes a minute on slow flash.
func SpoolOpening() []Finding {
	return note("it is still being opened; until then mail is relayed but cannot be queued")
}

// Held checks whether mail is held; substitute is the delivery method that it leaves by
// instead, or empty.
func Held(reason string, code fault.Code, substitute string) []Finding {
	if reason == "" {
		return ok("it accepts mail and forwards it")
	}
	found := note("it accepts mail and queues it for now: %s", reason)
	if substitute != "" {
		found = note("it accepts mail and sends it by %s: %s", substitute, reason)
	}
	found[0].Code = code
	return found
}

// MX checks the mail hosts of an accepted domain of a tenant in the cloud.
func MX(domain string, cloud settings.Cloud, hosts []string, err error) []Finding {
	switch {
	case err != nil:
		return problem("%s: looking up its mail host failed: %v: check the name servers in network.dns or upstream.dns, and the spelling of the domain", domain, err)
	case len(hosts) == 0:
		return problem("%s has no mail host: check the spelling of the domain", domain)
	}
	if clouds := settings.CloudsOf(hosts[0]); len(clouds) > 0 && !slices.Contains(clouds, cloud) {
		return note("%s: mail goes to %s, a host of another cloud: set upstream.cloud to %s", domain, hosts[0], quoted(clouds))
	}
	return ok("%s: mail goes to %s", domain, strings.Join(hosts, ", "))
}

// Cloud returns findings about the tenant's cloud that a person should check; none if
// there are none.
func Cloud(s settings.Settings) []Finding {
	ofCloud, named := s.Entra()
	if s.Upstream.Method.Traits().Mailbox && !ofCloud && len(named) > 0 {
		return note("upstream.oauth.token_url is Entra ID's of another cloud than upstream.cloud: leave it out, and set upstream.cloud to %s", quoted(named))
	}
	if unverified := s.Unverified(); len(unverified) > 0 {
		return note("upstream.cloud is %q: no statement of Microsoft confirms %s: if mail does not leave, ask the tenant's support for it, and set it under upstream", s.Upstream.Cloud, strings.Join(unverified, " and "))
	}
	return nil
}

// quoted lists clouds as the settings name them.
func quoted(clouds []settings.Cloud) string {
	names := make([]string, len(clouds))
	for i, c := range clouds {
		names[i] = fmt.Sprintf("%q", c)
	}
	return strings.Join(names, " or ")
}

// Upstream checks the tenant's reply to a sender and a recipient, without sending
// a message.
func Upstream(certificate string, refused string, err error) []Finding {
	switch {
	case err != nil:
		return problem("%v", err)
	case refused != "":
		return problem("it does not accept our mail: %s (%s)", refused, certificate)
	}
	return ok("it accepts our mail (%s)", certificate)
}

// DANE says whether a host publishes TLSA records for its mail port (RFC 7672), and whether
// the name server has validated that. Delivery does not depend on it: the certificate is
// checked by the public authorities.
func DANE(host string, records int, validated bool) []Finding {
	how := "not validated by the name server"
	if validated {
		how = "validated by the name server"
	}
	if records == 0 {
		return ok("%s has no TLSA records for DANE (%s)", host, how)
	}
	return ok("%s has TLSA records for DANE (%d, %s); the box checks its certificate by the public authorities", host, records, how)
}

// Authority returns the issuer of a chain.
func Authority(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	return chain[len(chain)-1].Issuer.String()
}
