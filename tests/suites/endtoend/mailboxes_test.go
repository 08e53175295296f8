package endtoend

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// TestMailbox_ThatMayNotLogInHoldsUpNoOther has a box that submits as
// two mailboxes, of which one was never allowed to.
func TestMailbox_ThatMayNotLogInHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const scanner = "scanner@contoso.com"
	s := mailboxSite(t, told{upstream: "messages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	checkLogin := func(user, _ string) string {
		if user == scanner {
			return "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."
		}
		return ""
	}
	certificate := serverCertificate(t)
	host := startTenant(t, tenant.Config{Certificate: certificate, Submission: &tenant.Submission{CheckLogin: checkLogin}})
	s.submit(host.Address().Port, issuer.TokenURL(), `grant = "secret"`)
	s.told.more = strings.Replace(s.told.more, "[upstream.oauth]", "own_mailbox = [\""+scanner+"\"]\n\n[upstream.oauth]", 1)
	s.configure()
	s.enterSecret()
	s.start()
	const messages = 5
	for range messages {
		s.mustKeep("SMTP AUTH is off for the mailbox", "--from", scanner)
		s.mustDeliver()
	}
	if list := s.run("queue", "list").Out; !strings.Contains(list, "5 messages queued; the mail of "+scanner+" is held since ") {
		t.Errorf("the queue says\n%s", list)
	}
	if events := s.relay.Log.Events("upstream held"); len(events) != 1 || events[0]["account"] != scanner {
		t.Errorf("the journal says %v", events)
	}
	welcome := func(_, _ string) string { return "" }
	host.Reconfigure(tenant.Config{Certificate: certificate, Submission: &tenant.Submission{CheckLogin: welcome}})
	if result := s.run("queue", "retry"); result.Status != 0 {
		t.Errorf("%+v", result)
	}
	s.awaitEmpty()
	await(t, host, 2*messages)
}
