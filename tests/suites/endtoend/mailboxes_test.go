package endtoend

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// TestMailbox_ThatCannotLogInDelaysNoOther has a box that submits as two mailboxes,
// one of which has SMTP AUTH disabled.
func TestMailbox_ThatCannotLogInDelaysNoOther(t *testing.T) {
	t.Parallel()
	const scanner = "scanner@contoso.com"
	s := mailboxSite(t, siteConfig{upstream: "messages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	rejectScanner := func(user, _ string) string {
		if user == scanner {
			return "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."
		}
		return ""
	}
	certificate := serverCertificate(t)
	host := startTenant(t, tenant.Config{Certificate: certificate, Submission: &tenant.Submission{CheckLogin: rejectScanner}})
	s.configureSubmission(host.Address().Port, issuer.TokenURL(), `grant = "secret"`)
	s.config.more = strings.Replace(s.config.more, "[upstream.oauth]", "own_mailbox = [\""+scanner+"\"]\n\n[upstream.oauth]", 1)
	s.configure()
	s.enterSecret()
	s.start()
	const messages = 5
	for range messages {
		s.mustQueue("SMTP AUTH is off for the mailbox", "--from", scanner)
		s.mustDeliver()
	}
	if list := s.run("queue", "list").Out; !strings.Contains(list, "5 messages queued; the mail of "+scanner+" is held since ") {
		t.Errorf("queue list does not show 5 held messages of %s:\n%s", scanner, list)
	}
	if events := s.relay.Log.Events("upstream held"); len(events) != 1 || events[0]["account"] != scanner {
		t.Errorf("got events %v, want one for %s", events, scanner)
	}
	acceptAll := func(_, _ string) string { return "" }
	host.Reconfigure(tenant.Config{Certificate: certificate, Submission: &tenant.Submission{CheckLogin: acceptAll}})
	if result := s.run("queue", "retry"); result.Status != 0 {
		t.Errorf("queue retry: got %+v, want status 0", result)
	}
	s.awaitEmpty()
	awaitMessages(t, host, 2*messages)
}
