package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

const originalHeader = "Received: from scanner ([192.168.10.20]) by relay.contoso.com\r\n" +
	"From: Scanner <scanner@contoso.com>\r\n" +
	"Subject: =?utf-8?Q?Angebot_f=C3=BCr?=\r\n Fabrikam\r\n"

func failure() Notification {
	arrived := time.Date(2026, 3, 2, 14, 5, 0, 0, time.UTC)
	return Notification{
		Action: Failed, Reporter: "relay.contoso.com", Site: "Contoso Leeds",
		From: "postmaster@contoso.com", To: "scanner@contoso.com", Sender: "scanner@contoso.com",
		ID: "7K2M", Unique: "7K2M-1", Arrived: arrived, Now: arrived.Add(time.Minute),
		Outcomes: []Outcome{
			{
				Recipient: "anna@fabrikam.com", Host: "contoso-com.mail.protection.outlook.com",
				Reply:  reply.New(550, 7, 64, "TenantAttribution; Relay Access Denied [DB5PEPF00014B8A.eurprd02.prod.outlook.com]"),
				Status: reply.Status{Class: 5, Subject: 7, Detail: 64}, LastAttempt: arrived.Add(30 * time.Second),
			},
			{
				Recipient: "scan to mail@fabrikam.com", Host: "contoso-com.mail.protection.outlook.com",
				Reply:  reply.New(550, 1, 10, "RESOLVER.ADR.RecipientNotFound; Recipient not found"),
				Status: reply.Status{Class: 5, Subject: 1, Detail: 10}, LastAttempt: arrived.Add(30 * time.Second),
			},
		},
	}
}

func delay() Notification {
	n := failure()
	n.Action, n.Reason = Delayed, "the mail server of contoso.com could not be reached"
	n.RetryUntil = n.Arrived.AddDate(0, 0, 5)
	n.To = "alerts@msp.example"
	n.Outcomes = []Outcome{{Recipient: "anna@fabrikam.com", Status: reply.Status{Class: 4, Subject: 4, Detail: 1}}}
	return n
}

func relayed() Notification {
	n := failure()
	n.Action, n.EnvelopeID, n.Return = Relayed, "QQ+2B314159", envelope.ReturnFull
	n.Outcomes = []Outcome{{
		Recipient: "anna@fabrikam.com", Original: "rfc822;anna+2Bm@contoso.com", Host: "mx.contoso.com",
		Reply: reply.New(250, 6, 0, "Queued mail for delivery"), Status: reply.Status{Class: 2, Subject: 6}, LastAttempt: n.Now,
	}}
	return n
}

func write(t *testing.T, n Notification, original string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := n.Write(&out, strings.NewReader(original)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func mustParse(t *testing.T, n Notification, original string) parsed {
	t.Helper()
	raw := write(t, n, original)
	if err := checkSevenBit(raw); err != nil {
		t.Errorf("got %v in\n%s", err, raw)
	}
	p, err := parse(raw)
	if err != nil {
		t.Fatalf("got error %v in\n%s", err, raw)
	}
	return p
}

func TestNotification_HasReadableText(t *testing.T) {
	for file, n := range map[string]Notification{"failed.eml": failure(), "delayed.eml": delay(), "relayed.eml": relayed()} {
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.ReplaceAll(write(t, n, originalHeader+"\r\nthe body"), []byte("\r\n"), []byte("\n"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s got\n%s", file, got)
		}
	}
}

func TestNotification_ReportsEveryRecipient(t *testing.T) {
	p := mustParse(t, failure(), originalHeader)
	if got := p.message; len(got) != 2 || got.Get("Reporting-MTA") != "dns; relay.contoso.com" || got.Get("Arrival-Date") != "Mon, 02 Mar 2026 14:05:00 +0000" {
		t.Errorf("of the message: %v", got)
	}
	if len(p.each) != 2 {
		t.Fatalf("got %d recipients, want 2", len(p.each))
	}
	for field, want := range map[string]string{
		"Final-Recipient":   `rfc822; "scan to mail"@fabrikam.com`,
		"Action":            "failed",
		"Status":            "5.1.10",
		"Remote-MTA":        "dns; contoso-com.mail.protection.outlook.com",
		"Diagnostic-Code":   "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found",
		"Last-Attempt-Date": "Mon, 02 Mar 2026 14:05:30 +0000",
	} {
		if got := p.each[1].Get(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	if len(p.each[1]) != 6 {
		t.Errorf("second recipient: got %v, want 6 fields", p.each[1])
	}
}

func TestNotification_ReportsADelay(t *testing.T) {
	got := mustParse(t, delay(), originalHeader).each[0]
	if got.Get("Action") != "delayed" || got.Get("Status") != "4.4.1" || got.Get("Will-Retry-Until") != "Sat, 07 Mar 2026 14:05:00 +0000" || len(got) != 4 {
		t.Errorf("got %v", got)
	}
}

func TestNotification_NamesWhatTheSenderGave(t *testing.T) {
	for _, c := range []struct{ id, original, wantID, wantOriginal string }{
		{"QQ+2B314159", "rfc822;anna+40fabrikam.com", "QQ+314159", "rfc822; anna@fabrikam.com"},
		{"", "", "", ""},
		{"a+0D+0AAction: delivered", "rfc822;x+0D+0AAction:+20delivered", "", ""},
		{"1", "x\r\ny;z", "1", "xy; z"},
		{"1", "rfc822;" + strings.Repeat("x", 493), "1", "rfc822; " + strings.Repeat("x", 493)},
	} {
		n := failure()
		n.EnvelopeID, n.Outcomes[1].Original = c.id, c.original
		p := mustParse(t, n, originalHeader)
		if p.message.Get("Original-Envelope-Id") != c.wantID || p.each[1].Get("Original-Recipient") != c.wantOriginal || p.each[0].Get("Original-Recipient") != "" {
			t.Errorf("%q and %q: got %v and %v", c.id, c.original, p.message, p.each)
		}
	}
}

func TestNotification_IsMarkedAsAutomatic(t *testing.T) {
	header := mustParse(t, failure(), originalHeader).header
	for field, want := range map[string]string{
		"Auto-Submitted": "auto-replied", "Mime-Version": "1.0", "Message-Id": "<7K2M-1@relay.contoso.com>",
		"From": "<postmaster@contoso.com>", "To": "<scanner@contoso.com>", "Date": "Mon, 02 Mar 2026 14:06:00 +0000",
	} {
		if got := header.Get(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
}

func TestNotification_NamesTheMessageInTheSubject(t *testing.T) {
	other := failure()
	other.To = "alerts@msp.example"
	null := other
	null.Sender = ""
	for want, n := range map[string]Notification{
		"Undeliverable: your message of 2 March 2026, 14:05 UTC":                     failure(),
		"Undeliverable: message from scanner@contoso.com of 2 March 2026, 14:05 UTC": other,
		"Undeliverable: message without a sender of 2 March 2026, 14:05 UTC":         null,
		"Delayed: message from scanner@contoso.com of 2 March 2026, 14:05 UTC":       delay(),
	} {
		if got := mustParse(t, n, originalHeader).header.Get("Subject"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNotification_ExplainsReplies(t *testing.T) {
	for _, c := range []struct {
		action Action
		reply  reply.Reply
		want   string
	}{
		{Failed, reply.New(550, 7, 68, "TenantInboundAttribution"), "The tenant rejects direct send: use the connector method"},
		{Delayed, reply.New(451, 7, 500, "Server busy"), "throttling this site's address: wait"},
		{Failed, reply.New(550, 1, 1, "User unknown"), "There is no such mailbox: check the address"},
		{Failed, reply.New(550, 1, 2, "Bad domain"), "There is no such domain"},
		{Failed, reply.New(552, 2, 2, "Over quota"), "The recipient's mailbox is full: ask"},
		{Failed, reply.New(552, 3, 4, "Too big"), "too large for the recipient: send it in smaller parts"},
		{Failed, reply.New(554, 7, 1, "Spam"), "does not allow this message: show the reply below"},
		{Failed, reply.Reply{Code: 550, Text: "Go away"}, "The server refused the message for this recipient: check the address"},
		{Failed, reply.New(450, 0, 0, "Later"), "The server deferred the message: if this continues"},
		{Delayed, reply.New(452, 2, 2, "Over quota"), "The recipient's mailbox is full. The server said"},
		{Failed, reply.Reply{}, "No mail server replied for this recipient."},
	} {
		n := failure()
		n.Action, n.Outcomes = c.action, []Outcome{{Recipient: "anna@fabrikam.com", Reply: c.reply}}
		text := mustParse(t, n, originalHeader).text
		unwrapped := strings.ReplaceAll(text, "\r\n    ", " ")
		if !strings.Contains(unwrapped, c.want) || c.reply.Code != 0 && !strings.Contains(unwrapped, "The server said: "+c.reply.String()) {
			t.Errorf("got no %q in\n%s", c.want, text)
		}
	}
}

func TestNotification_IdentifiesTheMessage(t *testing.T) {
	n := failure()
	n.Site = "Müller & Söhne"
	for header, want := range map[string]string{
		originalHeader: "Subject:   Angebot für Fabrikam\r\n",
		"subject : =?x-unknown?Q?a?=\r\nX: y\r\n":        "Subject:   =?x-unknown?Q?a?=\r\n",
		"Subject: a =?utf-8?Q?=0D=0ABcc:_=E2=80=AEx?=\r": "Subject:   a Bcc: x\r\n",
		"From: x\r\n": "Müller & Söhne (relay.contoso.com)",
	} {
		text := mustParse(t, n, header).text
		if !strings.Contains(strings.ReplaceAll(text, "\r\n(", " ("), want) {
			t.Errorf("got no %q in\n%s", want, text)
		}
	}
}

func TestNotification_ListsFiftyRecipientsInTheText(t *testing.T) {
	n := failure()
	n.Outcomes = nil
	for i := range 120 {
		n.Outcomes = append(n.Outcomes, Outcome{Recipient: envelope.Address(fmt.Sprintf("r%d@fabrikam.com", i)), Reply: reply.New(550, 1, 1, "no")})
	}
	p := mustParse(t, n, originalHeader)
	if len(p.each) != 120 || p.each[119].Get("Final-Recipient") != "rfc822; r119@fabrikam.com" {
		t.Errorf("got %d recipients, want 120", len(p.each))
	}
	if listed := strings.Count(p.text, "@fabrikam.com"); listed != 50 || !strings.Contains(p.text, "... and 70 more") {
		t.Errorf("got %d recipients listed, want 50:\n%s", listed, p.text)
	}
}

func TestNotification_ContainsForeignTextInItsField(t *testing.T) {
	const evil = "x\r\nAction: delivered\r\n\r\nStatus: 2.0.0\n--=_7K2M-1\r\nBcc: a@b\r\x00\x1b[2J \u2028 \u202e ö"
	n := failure()
	n.Site, n.ID, n.Reason, n.Reporter, n.Sender = evil, evil, evil, "relay."+evil, envelope.Address(evil)
	for i := range n.Outcomes {
		o := &n.Outcomes[i]
		o.Reply.Text, o.Host = evil+strings.Repeat(evil, 100), evil
	}
	n.Outcomes[1].Recipient = envelope.Address(evil)
	p := mustParse(t, n, "Subject: "+evil+"\r\n")
	if len(p.each) != 2 || len(p.message) != 2 {
		t.Errorf("got report %v %v", p.message, p.each)
	}
	for i, group := range p.each {
		if len(group) != 6 || len(group["Action"]) != 1 || group.Get("Action") != "failed" || group.Get("Status")[:3] == "2.0" {
			t.Errorf("recipient %d: got %v", i, group)
		}
	}
	if len(p.header) != 8 || strings.ContainsAny(p.text, "\x1b\x00\u202e\u2028") {
		t.Errorf("got header %v", p.header)
	}
}

func TestNotification_RejectsInvalidStatus(t *testing.T) {
	for _, c := range []struct {
		action Action
		status reply.Status
		want   string
	}{
		{Failed, reply.Status{}, "5.0.0"},
		{Delayed, reply.Status{}, "4.0.0"},
		{Failed, reply.Status{Class: 4, Subject: 4, Detail: 7}, "4.4.7"},
		{Delayed, reply.Status{Class: 5, Subject: 1, Detail: 1}, "4.0.0"},
		{Failed, reply.Status{Class: 2, Subject: 1, Detail: 5}, "5.0.0"},
		{Relayed, reply.Status{Class: 2, Subject: 6, Detail: 0}, "2.6.0"},
		{Relayed, reply.Status{Class: 4, Subject: 1, Detail: 1}, "2.0.0"},
		{Relayed, reply.Status{}, "2.0.0"},
		{Failed, reply.Status{Class: 5, Subject: -1, Detail: 0}, "5.0.0"},
		{Failed, reply.Status{Class: 5, Subject: 1, Detail: 1000}, "5.0.0"},
	} {
		n := failure()
		n.Action, n.Outcomes = c.action, []Outcome{{Recipient: "a@b", Status: c.status}}
		if got := mustParse(t, n, "").each[0].Get("Status"); got != c.want {
			t.Errorf("%s, %v: got %s, want %s", c.action, c.status, got, c.want)
		}
	}
}

func TestWrite_RejectsAnInvalidNotification(t *testing.T) {
	changed := func(change func(n *Notification)) Notification {
		n := failure()
		change(&n)
		return n
	}
	for name, c := range map[string]struct {
		n        Notification
		original io.Reader
	}{
		"without a To address":   {changed(func(n *Notification) { n.To = "" }), strings.NewReader("")},
		"with a CRLF in From":    {changed(func(n *Notification) { n.From = "a\r\nb@c" }), strings.NewReader("")},
		"without a recipient":    {changed(func(n *Notification) { n.Outcomes = nil }), strings.NewReader("")},
		"without a name":         {changed(func(n *Notification) { n.Unique = "!" }), strings.NewReader("")},
		"an original unreadable": {failure(), iotest.ErrReader(io.ErrUnexpectedEOF)},
	} {
		var out bytes.Buffer
		if err := c.n.Write(&out, c.original); err == nil || out.Len() != 0 {
			t.Errorf("%s: got error %v after %d bytes, want one before the first", name, err, out.Len())
		}
	}
}

// limitedWriter is a Writer that fails after a number of octets.
type limitedWriter int

func (l *limitedWriter) Write(p []byte) (int, error) {
	if *l -= limitedWriter(len(p)); *l < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWrite_ReturnsWriteErrors(t *testing.T) {
	long := strings.Repeat("X: y\r\n", 2000)
	whole := len(write(t, failure(), long))
	for room := 0; room < whole; room += 500 {
		l := limitedWriter(room)
		if err := failure().Write(&l, strings.NewReader(long)); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d of %d octets: got error %v, want io.ErrShortWrite", room, whole, err)
		}
	}
}
