package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// inCloud returns submission settings of a cloud.
func inCloud(cloud Cloud) string {
	return strings.Replace(submitting, "method =", fmt.Sprintf("cloud = %q\nmethod =", cloud), 1)
}

func TestCloud_SetsEveryDefaultTogether(t *testing.T) {
	for _, c := range []struct {
		cloud                               Cloud
		host, authority, scope, signIn, mx  string
		exchange, graph                     string
		unverifiedSubmission, unverifiedIMX bool
	}{
		{CloudGlobal, "smtp.office365.com", "login.microsoftonline.com", "https://outlook.office365.com/.default", "https://outlook.office.com/SMTP.Send", "c.mail.protection.outlook.com", "", "", false, false},
		{CloudGCCHigh, "smtp.office365.us", "login.microsoftonline.us", "https://outlook.office365.us/.default", "https://outlook.office365.us/SMTP.Send", "c.mail.protection.office365.us", "O365USGovGCCHigh", "USGov", false, false},
		{CloudDoD, "outlook-dod.office365.us", "login.microsoftonline.us", "https://outlook-dod.office365.us/.default", "https://outlook-dod.office365.us/SMTP.Send", "c.mail.protection.office365.us", "O365USGovDoD", "USGovDoD", false, true},
		{CloudChina, "smtp.partner.outlook.cn", "login.partner.microsoftonline.cn", "https://partner.outlook.cn/.default", "https://partner.outlook.cn/SMTP.Send", "c.mail.protection.partner.outlook.cn", "O365China", "China", true, false},
	} {
		t.Run(string(c.cloud), func(t *testing.T) {
			s := parsed(t, inCloud(c.cloud))
			issuer := s.Issuer()
			if s.Upstream.Submission.Host != Host(c.host) || issuer.TokenURL != URL("https://"+c.authority+"/contoso.com/oauth2/v2.0/token") ||
				issuer.DeviceURL != URL("https://"+c.authority+"/contoso.com/oauth2/v2.0/devicecode") || issuer.Audience != issuer.TokenURL || !reflect.DeepEqual(issuer.Scopes, []string{c.scope}) {
				t.Errorf("got host %s and issuer %+v, want %s, %s and scope %s", s.Upstream.Submission.Host, issuer, c.host, c.authority, c.scope)
			}
			if ofCloud, named := s.Entra(); !ofCloud || len(named) > 0 {
				t.Errorf("Entra ID: got tenant's cloud %v, named clouds %v, want only the tenant's cloud", ofCloud, named)
			}
			if unverified := s.Unverified(); (len(unverified) > 0) != c.unverifiedSubmission {
				t.Errorf("unverified for an application: got %q, want any %t", unverified, c.unverifiedSubmission)
			}
			device := parsed(t, inCloud(c.cloud)+"grant = \"device\"\n")
			if got := device.Issuer().Scopes; !reflect.DeepEqual(got, []string{c.signIn, "offline_access"}) {
				t.Errorf("got scopes of a sign-in %q, want %q", got, []string{c.signIn, "offline_access"})
			}
			if unverified := device.Unverified(); slices.Contains(unverified, c.signIn) != (c.cloud != CloudGlobal) {
				t.Errorf("unverified for a sign-in: got %q, want %s only in a national cloud", unverified, c.signIn)
			}
			if got := c.cloud.Services(); got.ExchangeEnvironment != c.exchange || got.GraphEnvironment != c.graph {
				t.Errorf("got PowerShell environments %q and %q, want %q and %q", got.ExchangeEnvironment, got.GraphEnvironment, c.exchange, c.graph)
			}
			connector := parsed(t, fmt.Sprintf("%s[upstream]\ncloud = %q\n", minimal, c.cloud))
			if !slices.ContainsFunc(connector.Upstream.MailHosts(), func(suffix string) bool { return strings.HasSuffix(c.mx, suffix) }) || !slices.Contains(CloudsOf(strings.ToUpper(c.mx)), c.cloud) {
				t.Errorf("got %s rejected, want it to be a host of %s", c.mx, c.cloud)
			}
			if unverified := connector.Unverified(); (len(unverified) > 0) != c.unverifiedIMX {
				t.Errorf("unverified for a connector: got %q, want any %t", unverified, c.unverifiedIMX)
			}
			foreign := "c.mail.protection.outlook.com"
			if accepts := slices.ContainsFunc(connector.Upstream.MailHosts(), func(suffix string) bool { return strings.HasSuffix(foreign, suffix) }); accepts != (c.cloud == CloudGlobal) {
				t.Errorf("%s: got accepted %t, want %t", foreign, accepts, c.cloud == CloudGlobal)
			}
		})
	}
}

func TestCloud_YieldsToExplicitSettings(t *testing.T) {
	text := strings.Replace(inCloud(CloudGCCHigh), "user =", "host = \"smtp.example\"\nuser =", 1) + "scopes = [\"mine\"]\ntoken_url = \"https://login.microsoftonline.com/x/oauth2/v2.0/token\"\n"
	s := parsed(t, text)
	if issuer := s.Issuer(); s.Upstream.Submission.Host != "smtp.example" || issuer.TokenURL != "https://login.microsoftonline.com/x/oauth2/v2.0/token" || !reflect.DeepEqual(issuer.Scopes, []string{"mine"}) {
		t.Errorf("got host %s and issuer %+v, want the explicit settings", s.Upstream.Submission.Host, issuer)
	}
	if ofCloud, named := s.Entra(); ofCloud || !reflect.DeepEqual(named, []Cloud{CloudGlobal}) {
		t.Errorf("Entra ID: got tenant's cloud %v, named clouds %v, want only %s", ofCloud, named, CloudGlobal)
	}
}

func TestEntra_IsFoundByTheHostOfTheTokenURL(t *testing.T) {
	for _, c := range []struct {
		cloud   Cloud
		url     string
		ofCloud bool
		named   []Cloud
	}{
		{CloudGlobal, "https://issuer.example/t", false, nil},
		{CloudGlobal, "https://login.microsoftonline.us/t/oauth2/v2.0/token", false, []Cloud{CloudGCCHigh, CloudDoD}},
		{CloudDoD, "https://LOGIN.microsoftonline.us/t/oauth2/v2.0/token", true, []Cloud{CloudGCCHigh, CloudDoD}},
		{CloudChina, "https://login.partner.microsoftonline.cn:443/t", true, []Cloud{CloudChina}},
		{CloudGlobal, "https://login.microsoftonline.com.evil.example/t", false, nil},
	} {
		s := parsed(t, inCloud(c.cloud)+fmt.Sprintf("token_url = %q\n", c.url))
		if ofCloud, named := s.Entra(); ofCloud != c.ofCloud || !reflect.DeepEqual(named, c.named) {
			t.Errorf("%s in %s: got tenant's cloud %v, named clouds %v, want %v, %v", c.url, c.cloud, ofCloud, named, c.ofCloud, c.named)
		}
	}
}

// An unknown cloud has no safe default: mail would go to another operator.
func TestParseStored_RefusesAnUnknownCloud(t *testing.T) {
	if _, err := ParseStored([]byte(inCloud("mars")), Schema+1); err == nil || !strings.Contains(err.Error(), "upstream.cloud") {
		t.Errorf("got %v, want an error with %q", err, "upstream.cloud")
	}
}
