package preflight

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

func TestFinding_NamesEachFaultAndItsCure(t *testing.T) {
	address := []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}
	linkLocal, global := netip.MustParsePrefix("fe80::5054:ff:fe12:3456/64"), netip.MustParsePrefix("2001:db8::5/64")
	for _, c := range []struct {
		findings []Finding
		level    certificate.Level
		text     string
	}{
		{Network("dhcp", append(address, linkLocal, global), ""), certificate.OK, "10.0.0.5/24 (DHCP), 2001:db8::5/64"},
		{Network("static", address, ""), certificate.OK, "10.0.0.5/24 (static)"},
		{Network("none", []netip.Prefix{linkLocal}, ""), certificate.Problem, "check the cable"},
		{Network("none", nil, ""), certificate.Problem, "check the cable"},
		{Network("link-local", address, "no DHCP server answers"), certificate.Problem, "no DHCP server answers"},
		{Clock(true, "old doubt"), certificate.OK, "it is set"},
		{Clock(false, ""), certificate.Problem, "set it by hand"},
		{Clock(false, "a says 2036"), certificate.Problem, "a says 2036"},
		{TPM(hal.TPMReady), certificate.OK, "ready"},
		{TPM(hal.TPMAbsent), certificate.Problem, "check that the TPM is fitted"},
		{NoCertificate(), certificate.Note, "import one"},
		{Spool(3, 400<<20, 500<<20), certificate.OK, "3 messages queued"},
		{Spool(900, 1<<20, 500<<20), certificate.Problem, "find out why"},
		{Held("", "", ""), certificate.OK, "forwards it"},
		{Held("the tenant is busy", "", ""), certificate.Note, "queues it for now: the tenant is busy"},
		{Held("connector: the tenant is busy", "", "submission"), certificate.Note, "sends it by submission: connector: the tenant is busy"},
		{MX("contoso.com", settings.CloudGlobal, []string{"mx"}, nil), certificate.OK, "mail goes to mx"},
		{MX("contoso.com", settings.CloudGlobal, []string{"contoso-com.mail.protection.office365.us"}, nil), certificate.Note, `a host of another cloud: set upstream.cloud to "gcc-high" or "dod"`},
		{MX("contoso.com", settings.CloudDoD, []string{"contoso-com.mail.protection.office365.us"}, nil), certificate.OK, "mail goes to"},
		{MX("contoso.com", settings.CloudGlobal, nil, nil), certificate.Problem, "spelling"},
		{MX("contoso.com", settings.CloudGlobal, nil, errors.New("timeout")), certificate.Problem, "network.dns"},
		{DANE("mx.contoso.com", 0, false), certificate.OK, "mx.contoso.com has no TLSA records for DANE (not validated by the name server)"},
		{DANE("mx.contoso.com", 2, true), certificate.OK, "has TLSA records for DANE (2, validated by the name server)"},
		{Upstream("shown: CN=a", "", nil), certificate.OK, "shown: CN=a"},
		{Upstream("shown: none", "550 5.7.64", nil), certificate.Problem, "550 5.7.64"},
		{Upstream("", "", errors.New("port 25 is blocked")), certificate.Problem, "port 25 is blocked"},
		{Problem(errors.New("no such file")), certificate.Problem, "no such file"},
	} {
		if len(c.findings) != 1 || c.findings[0].Level != c.level || !strings.Contains(c.findings[0].Text, c.text) {
			t.Errorf("got %v, want %s with %q", c.findings, c.level, c.text)
		}
	}
}

func TestCertificate_ReportsProblemsAsFindings(t *testing.T) {
	findings := Certificate(certificate.Report{Subject: "CN=a", Findings: []certificate.Finding{
		{Level: certificate.OK, Text: "fine"}, {Level: certificate.Problem, Text: "expired"}}})
	if len(findings) != 2 || findings[1].Text != "expired" || findings[1].Level != certificate.Problem {
		t.Errorf("got %v, want both with the problem second", findings)
	}
}

func TestRun_ReportsAHangingCheckAndContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		begun := time.Now()
		for f := range Run(ctx, time.Minute, []Check{
			{Name: "hanging", Run: func(context.Context) []Finding { <-ctx.Done(); return nil }},
			{Name: "next", Run: func(context.Context) []Finding { time.Sleep(90 * time.Second); return ok("well") }, Timeout: 2 * time.Minute},
		}) {
			got = append(got, f.String())
		}
		if len(got) != 2 || !strings.Contains(got[0], "did not end") || !strings.Contains(got[1], "well") || time.Since(begun) != 150*time.Second {
			t.Errorf("got %q after %v, want a timeout and well after 2m30s", got, time.Since(begun))
		}
	})
}

func TestAdvise_RecommendsTheMethodThatWorks(t *testing.T) {
	reached := Reach{OK: true}
	for _, c := range []struct {
		probed ProbeResult
		want   string
	}{
		{ProbeResult{Port25: reached, STARTTLS: reached}, "connector: "},
		{ProbeResult{Port25: reached, Authority: "CN=Our CA"}, "Our CA"},
		{ProbeResult{Port25: reached}, "SMTP inspection"},
		{ProbeResult{Host: "mx", Port587: reached}, "open port 25 to mx"},
		{ProbeResult{}, "neither port 25 nor port 587"},
		{ProbeResult{Port: 2525}, "neither port 2525 nor port 587"},
	} {
		if got := c.probed.Advise(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: got %s, want text with %q", c.probed, got, c.want)
		}
	}
}

func TestCloud_ReportsUnverifiedValues(t *testing.T) {
	parse := func(text string) settings.Settings {
		s, err := settings.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const mailbox = "method = \"submission\"\n[upstream.submission]\nuser = \"relay@contoso.com\"\n"
	const application = "[upstream.oauth]\nclient_id = \"8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10\"\n"
	for _, c := range []struct{ text, want string }{
		{"[upstream]\n" + mailbox + application, ""},
		{"[upstream]\ncloud = \"gcc-high\"\n" + mailbox + application, ""},
		{"[upstream]\ncloud = \"china\"\n" + mailbox + application, "no statement of Microsoft confirms smtp.partner.outlook.cn: "},
		{"[upstream]\ncloud = \"china\"\n" + mailbox + "host = \"smtp.example\"\n" + application, ""},
		{"[upstream]\ncloud = \"china\"\n" + mailbox + application + "grant = \"device\"\n", "smtp.partner.outlook.cn and https://partner.outlook.cn/SMTP.Send"},
		{"[upstream]\ncloud = \"dod\"\n[senders]\naccepted_domains = [\"contoso.com\"]\n", "confirms .mail.protection.office365.us: "},
		{"[upstream]\n" + mailbox + application + "token_url = \"https://login.microsoftonline.us/t\"\n", `set upstream.cloud to "gcc-high" or "dod"`},
		{"[upstream]\n" + mailbox + application + "token_url = \"https://issuer.example/t\"\n", ""},
	} {
		got := Cloud(parse(c.text))
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || got[0].Level != certificate.Note || !strings.Contains(got[0].Text, c.want)) {
			t.Errorf("%s\ngot %v\nwant %s", c.text, got, c.want)
		}
	}
}
