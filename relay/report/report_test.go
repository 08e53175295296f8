package report

import (
	"bufio"
	"strings"
	"testing"

	"sealpost/relay/reply"
)

func TestExchangeOnlinesAnswersAreRead(t *testing.T) {
	for wire, want := range map[string]Kind{
		"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded":                           Wait,
		"432 4.3.2 Concurrent connections limit exceeded":                                         Wait,
		"451 4.7.500 Server busy. Please try again later":                                         WaitLong,
		"451 4.7.650 The mail server [1.2.3.4] has been temporarily rate limited":                 WaitLong,
		"421 4.3.2 Service not available":                                                         Wait,
		"550 5.7.64 TenantAttribution; Relay Access Denied":                                       Configuration,
		"550 5.7.68 TenantInboundAttribution; direct send not allowed":                            Configuration,
		"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled":           Configuration,
		"535 5.7.3 Authentication unsuccessful":                                                   Configuration,
		"535 5.7.57 Client not authenticated to send mail":                                        Configuration,
		"550 5.7.30 Basic authentication is not supported":                                        Configuration,
		"554 5.2.252 SendAsDenied; a@contoso.com not allowed to send as b@contoso.com":            Message,
		"554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied": Message,
		"550 5.7.60 SMTP; Client does not have permissions to send as this sender":                Message,
		"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException":                WaitReset,
		"550 5.1.90 Your message can't be sent because you've reached your daily limit":           WaitReset,
		"550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit":     WaitReset,
		"550 5.1.8 Access denied, bad outbound sender":                                            Blocked,
		"550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal":                                             Message,
		"550 5.7.606 Access denied, banned sending IP [1.2.3.4]":                                  Configuration,
	} {
		answer, err := reply.Read(bufio.NewReader(strings.NewReader(wire+"\r\n")), func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		reading, known := Read(answer)
		if !known || reading.Kind != want || reading.Cause == "" || reading.Cure == "" {
			t.Errorf("%s: read as %+v, want %s", wire, reading, want)
		}
	}
}

func TestAnUnknownAnswerIsNotGuessedAt(t *testing.T) {
	for _, answer := range []reply.Reply{
		reply.New(250, 0, 0, "OK"), reply.New(550, 1, 1, "User unknown"), reply.New(451, 4, 1, "greylisted"),
	} {
		if reading, known := Read(answer); known {
			t.Errorf("%s was read as %+v", answer, reading)
		}
	}
}
