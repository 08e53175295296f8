package report

import (
	"bufio"
	"strings"
	"testing"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestClassify_KnowsExchangeOnlinesReplies(t *testing.T) {
	for wire, want := range map[string]Kind{
		"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded":                                 Wait,
		"432 4.3.2 Concurrent connections limit exceeded":                                               Wait,
		"451 4.7.500 Server busy. Please try again later":                                               WaitLong,
		"451 4.7.650 The mail server [1.2.3.4] has been temporarily rate limited":                       WaitLong,
		"421 4.3.2 Service not available":                                                               Wait,
		"550 5.7.64 TenantAttribution; Relay Access Denied":                                             Configuration,
		"550 5.7.68 TenantInboundAttribution; direct send not allowed":                                  Configuration,
		"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled":                 Configuration,
		"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria":                Configuration,
		"535 Authentication failed":                                                                     Configuration,
		"535 5.7.8 Error: authentication failed":                                                        Configuration,
		"530 5.7.57 Client not authenticated to send mail":                                              Configuration,
		"535 5.7.3 Authentication unsuccessful":                                                         Configuration,
		"535 5.7.57 Client not authenticated to send mail":                                              Configuration,
		"550 5.7.30 Basic authentication is not supported":                                              Configuration,
		"554 5.2.252 SendAsDenied; a@contoso.com not allowed to send as b@contoso.com":                  Message,
		"554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied":       Message,
		"550 5.7.60 SMTP; Client does not have permissions to send as this sender":                      Message,
		"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException":                      WaitReset,
		"550 5.1.90 Your message can't be sent because you've reached your daily limit":                 WaitReset,
		"550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit":           WaitReset,
		"550 5.1.8 Access denied, bad outbound sender":                                                  Blocked,
		"550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal":                                                   Message,
		"550 5.7.606 Access denied, banned sending IP [1.2.3.4]":                                        Configuration,
		"550 5.7.649 Access denied, banned sending IP [1.2.3.4]":                                        Configuration,
		"550 5.7.511 Access denied, banned sender":                                                      Configuration,
		"550 5.7.705 Access denied, tenant has exceeded threshold":                                      Blocked,
		"550 5.7.708 Access denied, traffic not accepted from this IP":                                  Blocked,
		"550 5.7.711 Access denied, bad inbound connector. AS(2204)":                                    Blocked,
		"550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains":        Configuration,
		"550 5.7.501 Access denied, spam abuse detected":                                                Blocked,
		"550 5.7.503 Access denied, banned sender":                                                      Blocked,
		"501 5.5.4 Invalid domain name":                                                                 Configuration,
		"550 5.7.506 Access Denied, Bad HELO":                                                           Configuration,
		"550 5.7.508 Access denied, [1.2.3.4] has exceeded permitted limits within range":               WaitLong,
		"550 5.7.510 Access denied, contoso.com does not accept email over IPv6":                        Configuration,
		"550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit": WaitReset,
		"550 5.7.236 Your tenant exceeded its daily limit for onmicrosoft.com":                          WaitReset,
		"554 5.2.270 message too large after conversion":                                                Message,
	} {
		r, err := reply.Read(bufio.NewReader(strings.NewReader(wire+"\r\n")), func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		class, known := Classify(r)
		if !known || class.Kind != want || class.Cause == "" || class.Cure == "" {
			t.Errorf("%s: got %+v, want %s", wire, class, want)
		}
	}
}

func TestClassify_LeavesUnknownReplies(t *testing.T) {
	for _, r := range []reply.Reply{
		reply.New(250, 0, 0, "OK"), reply.New(550, 1, 1, "User unknown"), reply.New(451, 4, 1, "greylisted"),
		// Replies about the recipient, which must not hold other mail.
		reply.New(550, 7, 1, "Access denied"), reply.New(550, 7, 504, "Recipient address rejected"), reply.New(550, 7, 505, "banned recipient"), reply.New(550, 7, 507, "rejected by recipient"), reply.New(550, 7, 703, "blocked by your organization using Tenant Allow Block List"),
	} {
		if class, known := Classify(r); known {
			t.Errorf("%s: got %+v, want no classification", r, class)
		}
	}
}

func TestClassify_DistinguishesDisabledSMTPAUTH(t *testing.T) {
	const off = "Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
	for text, cause := range map[string]string{
		off + "Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.":  "SMTP AUTH is off for the tenant",
		off + "Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.": "SMTP AUTH is off for the mailbox",
	} {
		if class, _ := Classify(reply.New(535, 7, 139, "%s", text)); class.Cause != cause {
			t.Errorf("%s: got %+v, want cause %q", text, class, cause)
		}
	}
}

func TestClassifyFor_ReturnsTheSendAsCommand(t *testing.T) {
	denied := reply.New(554, 2, 252, "SendAsDenied")
	for _, c := range []struct {
		sender        envelope.Address
		trustee, want string
	}{
		{"ups@contoso.com", "relay@contoso.com", "Add-RecipientPermission -Identity ups@contoso.com -Trustee relay@contoso.com -AccessRights SendAs"},
		{"o'hara@contoso.com", "Sealpost relay", "Add-RecipientPermission -Identity 'o''hara@contoso.com' -Trustee 'Sealpost relay' -AccessRights SendAs"},
		{"x;Remove-Mailbox@contoso.com", "-Confirm", "Add-RecipientPermission -Identity 'x;Remove-Mailbox@contoso.com' -Trustee '-Confirm' -AccessRights SendAs"},
		{"$(a)@contoso.com", "@x", "Add-RecipientPermission -Identity '$(a)@contoso.com' -Trustee '@x' -AccessRights SendAs"},
		{"", "relay@contoso.com", ""},
		{"ups@contoso.com", "", ""},
	} {
		class, known := ClassifyFor(denied, c.sender, c.trustee)
		if !known || class.Kind != Message || class.Command != c.want || !strings.HasSuffix(class.Text(), c.want) {
			t.Errorf("%s: got %+v, want %s", c.sender, class, c.want)
		}
	}
	if !IsSendAsDenied(denied) || IsSendAsDenied(reply.New(554, 2, 0, "SubmissionQuotaExceededException")) {
		t.Error("IsSendAsDenied: got false for a denied sender, or true for another error")
	}
}
