package settings

import (
	"slices"
	"strings"
	"testing"
)

const both = `senders.accepted_domains = ["contoso.com"]
[upstream]
method = ["connector", "submission"]
[upstream.submission]
user = "relay@contoso.com"
[upstream.oauth]
client_id = "` + guid + `"
`

func TestMethods_AreAListOrOneAlone(t *testing.T) {
	for text, want := range map[string]Methods{
		submitting: {MethodSubmission},
		strings.Replace(submitting, `"submission"`, `["submission"]`, 1): {MethodSubmission},
		both: {MethodConnector, MethodSubmission},
		strings.Replace(both, `"connector", "submission"`, `"submission", "connector"`, 1): {MethodSubmission, MethodConnector},
		"senders.accepted_domains = [\"contoso.com\"]":                                     {MethodConnector},
	} {
		s := parsed(t, text)
		if !slices.Equal(s.Upstream.Method, want) || !slices.Equal(SplitMethods(s.Upstream.Method.String()), want) {
			t.Errorf("%s\ngot %q, want %q", text, s.Upstream.Method, want)
		}
		if l := s.Upstream.LimitsOf(MethodSubmission); slices.Contains(want, MethodSubmission) && (l.MessagesPerMinute != 30 || l.RecipientsPerDay != 10000) {
			t.Errorf("%s\ngot limits %+v, want those of a mailbox", text, l)
		}
	}
}

func TestMethods_OfAListHaveTheirOwnLimitsUnlessOneIsSet(t *testing.T) {
	u := parsed(t, both).Upstream
	if l := u.LimitsOf(MethodConnector); l != (UpstreamLimits{Connections: 4}) {
		t.Errorf("connector: got %+v", l)
	}
	if l := u.LimitsOf(MethodSubmission); l != (UpstreamLimits{4, 3, 30, 10000}) {
		t.Errorf("submission: got %+v", l)
	}
	u = parsed(t, strings.Replace(both, "[upstream]", "[upstream]\nmessages_per_minute = 20\nrecipients_per_day = 500\nconnections = 2", 1)).Upstream
	if l := u.LimitsOf(MethodConnector); l != (UpstreamLimits{2, 0, 20, 500}) {
		t.Errorf("connector: got %+v", l)
	}
	if l := u.LimitsOf(MethodSubmission); l != (UpstreamLimits{2, 3, 20, 500}) {
		t.Errorf("submission: got %+v", l)
	}
}

func TestMethods_NeedWhatEachOfThemNeeds(t *testing.T) {
	for text, want := range map[string]string{
		strings.Replace(both, "senders.accepted_domains = [\"contoso.com\"]\n", "", 1): "senders.accepted_domains is empty",
		strings.Replace(both, "user = \"relay@contoso.com\"\n", "", 1):                 "upstream.submission.user is empty",
		strings.Replace(both, `["connector", "submission"]`, `[]`, 1):                  "line 3: upstream.method is an empty list",
		strings.Replace(both, `"submission"]`, `"connector"]`, 1):                      `line 3: upstream.method names "connector" twice`,
		strings.Replace(both, `"submission"]`, `"pigeon"]`, 1):                         `line 3: upstream.method: "pigeon" is not a delivery method`,
		strings.Replace(both, `"submission"]`, `1]`, 1):                                "line 3: upstream.method: must be text in quotes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %q", text, err, want)
		}
		if _, err := ParseStored([]byte(text), Schema); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "line 3: ")) {
			t.Errorf("stored: %s\ngot %v, want %q", text, err, want)
		}
	}
	traits := parsed(t, both).Upstream.Method.Traits()
	if !traits.Mailbox || !traits.ClientCertificate {
		t.Errorf("got %+v", traits)
	}
}

func TestParseStored_KeepsAListOfMethods(t *testing.T) {
	s, err := ParseStored([]byte(both+"later = 1\n"), Schema+1)
	if err != nil || s.Upstream.Method.String() != "connector, submission" || len(s.Ignored) != 1 {
		t.Errorf("got %q, %v, %v", s.Upstream.Method, s.Ignored, err)
	}
}
