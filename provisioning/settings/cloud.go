package settings

import (
	"net/url"
	"slices"
	"strings"
)

// Cloud is the Microsoft cloud that the tenant is in.
type Cloud string

// The clouds.
const (
	CloudGlobal  Cloud = "global" // also GCC, which shares its hosts
	CloudGCCHigh Cloud = "gcc-high"
	CloudDoD     Cloud = "dod"
	CloudChina   Cloud = "china" // operated by 21Vianet
)

// Clouds are all clouds.
var Clouds = []Cloud{CloudGlobal, CloudGCCHigh, CloudDoD, CloudChina}

// UnmarshalText accepts the names of the clouds.
func (c *Cloud) UnmarshalText(text []byte) error {
	return choose(c, text, "a cloud", Clouds...)
}

// String implements pflag.Value.
func (c *Cloud) String() string { return string(*c) }

// Type implements pflag.Value.
func (*Cloud) Type() string { return "cloud" }

// Set implements pflag.Value.
func (c *Cloud) Set(text string) error { return c.UnmarshalText([]byte(text)) }

// Services are what differs between the clouds.
type Services struct {
	// Submission is the host for SMTP submission.
	Submission Host
	// MailHosts are what the names of the tenants' MX hosts end in.
	MailHosts []string
	// Authority is the host of Entra ID.
	Authority string
	// Exchange and SignIn are the resource identifiers of Exchange Online, in the
	// scopes of an application and of a person.
	Exchange, SignIn string
	// ExchangeEnvironment and GraphEnvironment are PowerShell's names of the cloud;
	// empty for the default.
	ExchangeEnvironment, GraphEnvironment string
	// Unverified lists the values that no statement of Microsoft confirms.
	Unverified []string
}

var services = map[Cloud]Services{
	CloudGlobal: {
		Submission: "smtp.office365.com",
		MailHosts:  []string{".mail.protection.outlook.com", ".mx.microsoft"},
		Authority:  "login.microsoftonline.com",
		Exchange:   "https://outlook.office365.com",
		SignIn:     "https://outlook.office.com",
	},
	CloudGCCHigh: {
		Submission:          "smtp.office365.us",
		MailHosts:           []string{".mail.protection.office365.us"},
		Authority:           "login.microsoftonline.us",
		Exchange:            "https://outlook.office365.us",
		SignIn:              "https://outlook.office365.us",
		ExchangeEnvironment: "O365USGovGCCHigh",
		GraphEnvironment:    "USGov",
		Unverified:          []string{"https://outlook.office365.us/SMTP.Send"},
	},
	CloudDoD: {
		Submission:          "outlook-dod.office365.us",
		MailHosts:           []string{".mail.protection.office365.us"},
		Authority:           "login.microsoftonline.us",
		Exchange:            "https://outlook-dod.office365.us",
		SignIn:              "https://outlook-dod.office365.us",
		ExchangeEnvironment: "O365USGovDoD",
		GraphEnvironment:    "USGovDoD",
		Unverified:          []string{".mail.protection.office365.us", "https://outlook-dod.office365.us/SMTP.Send"},
	},
	CloudChina: {
		Submission:          "smtp.partner.outlook.cn",
		MailHosts:           []string{".mail.protection.partner.outlook.cn"},
		Authority:           "login.partner.microsoftonline.cn",
		Exchange:            "https://partner.outlook.cn",
		SignIn:              "https://partner.outlook.cn",
		ExchangeEnvironment: "O365China",
		GraphEnvironment:    "China",
		Unverified:          []string{"smtp.partner.outlook.cn", "https://partner.outlook.cn/SMTP.Send"},
	},
}

// Services returns the services of the cloud; those of the global one if the
// cloud is not set.
func (c Cloud) Services() Services {
	if found, known := services[c]; known {
		return found
	}
	return services[CloudGlobal]
}

// CloudsOf returns the clouds that a mail host belongs to, judged by its name
// alone; none for a host that is not Exchange Online's.
func CloudsOf(mailHost string) []Cloud {
	mailHost = strings.ToLower(mailHost)
	return slices.DeleteFunc(slices.Clone(Clouds), func(c Cloud) bool {
		return !slices.ContainsFunc(services[c].MailHosts, func(suffix string) bool { return strings.HasSuffix(mailHost, suffix) })
	})
}

// MailHosts are what the names of the tenant's MX hosts may end in. With the global
// cloud, the default, those of every cloud are allowed, because a connector needs no
// other setting that depends on the cloud.
func (u Upstream) MailHosts() []string {
	if u.Cloud != CloudGlobal {
		return u.Cloud.Services().MailHosts
	}
	var all []string
	for _, c := range Clouds {
		for _, suffix := range services[c].MailHosts {
			if !slices.Contains(all, suffix) {
				all = append(all, suffix)
			}
		}
	}
	return all
}

// Entra reports whether the tokens are issued by the Entra ID of the tenant's cloud, and
// returns the clouds whose Entra ID token_url names. They are none if token_url is not
// set, or names another issuer.
func (s Settings) Entra() (ofCloud bool, named []Cloud) {
	tokenURL, err := url.Parse(string(s.Upstream.OAuth.TokenURL))
	if s.Upstream.OAuth.TokenURL == "" || err != nil {
		return err == nil, nil
	}
	for _, c := range Clouds {
		if strings.EqualFold(tokenURL.Hostname(), services[c].Authority) {
			named = append(named, c)
		}
	}
	return slices.ContainsFunc(named, func(c Cloud) bool { return c.Services().Authority == s.Upstream.Cloud.Services().Authority }), named
}

// Unverified returns which of the values that the settings leave to the cloud are
// not confirmed by a statement of Microsoft.
func (s Settings) Unverified() []string {
	cloud := s.Upstream.Cloud.Services()
	var used []string
	traits := s.Upstream.Method.Traits()
	if traits.Mailbox {
		used = append(used, s.Issuer().Scopes...)
		used = append(used, string(s.Upstream.Submission.Host))
	}
	if traits.ClientCertificate && s.Upstream.Connector.Host == "" {
		used = append(used, cloud.MailHosts...)
	}
	return slices.DeleteFunc(slices.Clone(cloud.Unverified), func(value string) bool { return !slices.Contains(used, value) })
}
