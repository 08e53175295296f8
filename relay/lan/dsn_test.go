package lan

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestMailDSN_IgnoresMalformedValues(t *testing.T) {
	for input, want := range map[string]struct {
		ret    envelope.Return
		id     string
		others string
	}{
		"":                                    {},
		"RET=FULL ENVID=QQ314159":             {"FULL", "QQ314159", ""},
		"ret=hdrs SIZE=1 envid=a+20b":         {"HDRS", "a+20b", "SIZE=1"},
		"RET=BODY ENVID=a+4 BODY=8BITMIME":    {"", "", "BODY=8BITMIME"},
		"RET ENVID":                           {},
		"ENVID=" + strings.Repeat("x", 100):   {"", strings.Repeat("x", 100), ""},
		"ENVID=" + strings.Repeat("x", 101):   {},
		"ENVID=+0D+0A ENVID=a=b ENVID=ä":      {},
		"RETURN=FULL NOTIFY=NEVER XENVID=abc": {"", "", "RETURN=FULL NOTIFY=NEVER XENVID=abc"},
	} {
		dsn, others := takeMailDSN(strings.Fields(input))
		if dsn.Return != want.ret || dsn.ID != want.id || strings.Join(others, " ") != want.others {
			t.Errorf("%.80q: got %+v, %q", input, dsn, others)
		}
	}
}

func TestRcptDSN_LeavesOnlyContradictions(t *testing.T) {
	for input, want := range map[string]struct{ notify, original, others string }{
		"":             {},
		"NOTIFY=NEVER": {"NEVER", "", ""},
		"notify=delay,Failure ORCPT=rfc822;Bob@Example.ORG": {"FAILURE,DELAY", "rfc822;Bob@Example.ORG", ""},
		"NOTIFY=SUCCESS,SUCCESS":                            {"SUCCESS", "", ""},
		"NOTIFY=SUCCESS NOTIFY=DELAY":                       {"SUCCESS,DELAY", "", ""},
		"NOTIFY= ORCPT=":                                    {},
		"NOTIFY ORCPT":                                      {},
		"NOTIFY=ALWAYS":                                     {},
		"NOTIFY=FAILURE,ALWAYS":                             {"FAILURE", "", ""},
		"NOTIFY=NEVER,FAILURE":                              {"NEVER,FAILURE", "", "NOTIFY=NEVER,FAILURE"},
		"NOTIFY=delay NOTIFY=never":                         {"NEVER,DELAY", "", "NOTIFY=NEVER,DELAY"},
		"ORCPT=bob@example.org":                             {},
		"ORCPT=;bob@example.org":                            {},
		"ORCPT=rf(c;bob":                                    {},
		"ORCPT=rfc822;bob+0Aevil":                           {},
		`ORCPT=utf-8;b\x{F6}b@example.org X=1`:              {"", `utf-8;b\x{F6}b@example.org`, "X=1"},
		"ORCPT=x400;" + strings.Repeat("x", 495):            {"", "x400;" + strings.Repeat("x", 495), ""},
		"ORCPT=rfc822;" + strings.Repeat("x", 500):          {},
	} {
		dsn, others := takeRcptDSN(strings.Fields(input))
		if dsn.Notify.String() != want.notify || dsn.Original != want.original || strings.Join(others, " ") != want.others {
			t.Errorf("%.80q: got %+v, %q", input, dsn, others)
		}
	}
}

func FuzzDSN(f *testing.F) {
	for _, seed := range []string{"RET=FULL ENVID=QQ314159", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b", "NOTIFY=NEVER,FAILURE", "ENVID=+0D+0A ORCPT=;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, parameters string) {
		mail, _ := takeMailDSN(strings.Fields(parameters))
		rcpt, others := takeRcptDSN(strings.Fields(parameters))
		for value, most := range map[string]int{string(mail.Return): 4, mail.ID: maxEnvelopeID, rcpt.Original: maxOriginal} {
			if len(value) > most || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' }) {
				t.Errorf("%q: got value %q, want at most %d printable octets", parameters, value, most)
			}
		}
		never := rcpt.Notify&envelope.NotifyNever != 0 && rcpt.Notify != envelope.NotifyNever
		if left := strings.Contains(strings.ToUpper(strings.Join(others, " ")), "NOTIFY="+rcpt.Notify.String()); never && !left {
			t.Errorf("%q: got %s accepted, want the contradiction left to go-smtp", parameters, rcpt.Notify)
		}
	})
}

// sendLines sends lines on a new connection and returns the last line of each reply.
func sendLines(t *testing.T, address string, lines ...string) []string {
	t.Helper()
	conn := dial(t, address)
	r := bufio.NewReader(conn)
	var replies []string
	for _, line := range append([]string{""}, lines...) {
		if line != "" {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := reply.Read(r, func(string) {})
		if err != nil {
			t.Fatalf("after %q: got error %v", line, err)
		}
		replies = append(replies, got.String())
	}
	return replies[1:]
}

func TestSession_TakesDSNParameters(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, nil)
	replies := sendLines(t, address, "EHLO device", "MAIL FROM:<a@contoso.com> RET=FULL ENVID=QQ314159",
		"RCPT TO:<a@x.example>", "RCPT TO:<b@x.example> NOTIFY=NEVER,FAILURE",
		"RCPT TO:<c@x.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c@y.example", "RCPT TO:<d@x.example> NOTIFY=sometimes",
		"DATA", "Subject: x\r\n\r\nx\r\n.",
		"MAIL FROM:<a@contoso.com>", "RCPT TO:<a@x.example>", "DATA", "x\r\n.")
	if want := "501 5.5.4 NOTIFY=NEVER of RCPT contradicts"; !strings.HasPrefix(replies[3], want) {
		t.Errorf("got %q, want %q", replies[3], want)
	}
	if !strings.Contains(replies[0], "DSN") {
		t.Errorf("EHLO: got %q, want DSN", replies[0])
	}
	envelopes, _ := d.messages()
	if len(envelopes) != 2 || len(envelopes[0].Recipients) != 3 {
		t.Fatalf("got %+v after %q", envelopes, replies)
	}
	dsn := envelopes[0].DSN
	if dsn.Return != envelope.ReturnFull || dsn.ID != "QQ314159" || len(dsn.Recipients) != 2 ||
		dsn.Of(1) != (envelope.RecipientDSN{Notify: envelope.NotifySuccess | envelope.NotifyFailure, Original: "rfc822;c@y.example"}) {
		t.Errorf("got %+v", dsn)
	}
	if next := envelopes[1].DSN; next.Return != "" || next.ID != "" || next.Recipients != nil {
		t.Errorf("next message: got DSN parameters %+v, want none", next)
	}
}

func TestSession_AsksNoSuccessForAReplacedSender(t *testing.T) {
	for sender, want := range map[string]string{"a@contoso.com": "SUCCESS", "root@localhost": "NEVER", "": "NEVER"} {
		d := &fakeAcceptor{}
		_, address := start(t, d, nil)
		sendLines(t, address, "EHLO device", "MAIL FROM:<"+sender+"> ENVID=1", "RCPT TO:<a@x.example> NOTIFY=SUCCESS", "RCPT TO:<b@x.example> NOTIFY=DELAY", "DATA", "x\r\n.")
		envelopes, _ := d.messages()
		if len(envelopes) != 1 || envelopes[0].DSN.Of(0).Notify.String() != want || envelopes[0].DSN.Of(1).Notify != envelope.NotifyDelay || envelopes[0].DSN.ID != "1" {
			t.Errorf("%q: got %+v", sender, envelopes)
		}
	}
}

func TestSession_KeepsPipelinedParametersApart(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, nil)
	sendLines(t, address, "EHLO device", "MAIL FROM:<a@contoso.com> ENVID=1\r\nRCPT TO:<a@x.example> NOTIFY=NEVER\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example> NOTIFY=DELAY",
		"NOOP", "NOOP", "NOOP", "DATA", "x\r\n.", "NOOP", "NOOP", "NOOP")
	envelopes, _ := d.messages()
	if len(envelopes) != 1 {
		t.Fatalf("got %+v", envelopes)
	}
	if dsn := envelopes[0].DSN; dsn.ID != "1" || dsn.Of(0).Notify != envelope.NotifyNever || dsn.Of(1).Notify != 0 || dsn.Of(2).Notify != envelope.NotifyDelay {
		t.Errorf("got %+v", dsn)
	}
}

func TestSession_LimitsOriginalRecipients(t *testing.T) {
	const recipients = 600
	d := &fakeAcceptor{}
	_, address := start(t, d, func(c *Config) { c.Limits.Recipients = recipients })
	original := "rfc822;" + strings.Repeat("x", maxOriginal-len("rfc822;"))
	lines := []string{"EHLO device", "MAIL FROM:<a@contoso.com>"}
	for range recipients {
		lines = append(lines, "RCPT TO:<a@x.example> ORCPT="+original)
	}
	sendLines(t, address, append(lines, "DATA", "x\r\n.")...)
	envelopes, _ := d.messages()
	if len(envelopes) != 1 || len(envelopes[0].Recipients) != recipients || len(envelopes[0].DSN.Recipients) != maxOriginals/maxOriginal {
		t.Errorf("got %d recipients with ORCPT, want %d", len(envelopes[0].DSN.Recipients), maxOriginals/maxOriginal)
	}
}
