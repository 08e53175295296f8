package endtoend

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

func TestDirect_TellsFiveDomainsApartEvenAfterAKill(t *testing.T) {
	t.Parallel()
	mx := []string{"@ MX 10 mx1.lab.example."}
	r := newReceivers(t, nil,
		parts.Zone{Name: "contoso.com", Records: mx},
		parts.Zone{Name: "plain.example", Records: mx},
		parts.Zone{Name: "refuses.example", Records: mx},
		parts.Zone{Name: "dead.example", Records: []string{"@ MX 10 dead.lab.example."}},
		parts.Zone{Name: "grey.example", Records: mx},
		parts.Zone{Name: "null.example", Records: []string{"@ MX 0 ."}},
	)
	s := r.site(t, "")
	if output, err := s.swaks("--to", "alice@plain.example,unknown@refuses.example,alice@dead.example,alice@grey.example,alice@null.example", "--header", "Subject: five"); err != nil || !strings.Contains(output, "is queued and will be sent") {
		t.Errorf("swaks: %v, want it queued\n%s", err, output)
	}
	s.events("retrying", 1)
	// What was answered is durable before the next domain's content, so this may come at once.
	s.relay.Kill()
	s.start()

	// Each recipient is in one of the lists of the queued message.
	var last string
	list := func() (lists map[string]string) {
		last = must(s.box.Run("queue", "list", "--json")).Out
		lists = map[string]string{}
		for line := range strings.Lines(last) {
			var queued struct{ To, Settled, Failed []string }
			if err := json.Unmarshal([]byte(line), &queued); err != nil {
				t.Fatal(err)
			}
			for name, addresses := range map[string][]string{"pending": queued.To, "settled": queued.Settled, "failed": queued.Failed} {
				for _, address := range addresses {
					lists[address] = name
				}
			}
		}
		return lists
	}
	want := map[string]string{"alice@plain.example": "settled", "alice@grey.example": "settled", "alice@dead.example": "pending", "unknown@refuses.example": "failed", "alice@null.example": "failed"}
	for deadline := time.Now().Add(time.Minute); !maps.Equal(list(), want); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the queue did not reach %v:\n%s\n%s", want, last, s.relay.Log)
		}
	}

	messages, err := r.public.Messages(3)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	notification := ""
	// The kill may come before the end of the notification's own delivery is durable, up to
	// two seconds later: that one then arrives twice.
	notifications := map[string]bool{}
	for _, text := range messages {
		for _, address := range []string{"alice@plain.example", "alice@grey.example"} {
			if strings.Contains(text, "X-Rcpt-Args: <"+address+">") {
				count[address]++
			}
		}
		if strings.Contains(text, "X-Rcpt-Args: <"+sender+">") {
			notification = text
			notifications[regexp.MustCompile(`(?m)^Message-ID: .*`).FindString(text)] = true
		}
	}
	if count["alice@plain.example"] != 1 || count["alice@grey.example"] != 1 || len(notifications) != 1 {
		t.Errorf("got %v and the notifications %v, want one of each:\n%s", count, notifications, strings.Join(messages, "\n======\n"))
	}
	for _, want := range []string{"Final-Recipient: rfc822; unknown@refuses.example", "Remote-MTA: dns; mx1.lab.example", "Final-Recipient: rfc822; alice@null.example", "Status: 5.1.10",
		"alice@plain.example: passed on to its mail server", "alice@dead.example: still being tried", "alice@grey.example: still being tried"} {
		if !strings.Contains(notification, want) {
			t.Errorf("the notification lacks %q:\n%s", want, notification)
		}
	}
}

func TestRoutes_FollowTheRecipientsDomains(t *testing.T) {
	t.Parallel()
	r := newReceivers(t, nil, parts.Zone{Name: "plain.example", Records: []string{"@ MX 10 mx1.lab.example."}})
	upstream := startTenant(t, tenantConfig(t))
	s := r.site(t, "")
	s.importPFX(clientCertificate(t, authority()))
	s.stop()
	s.config.host, s.config.port = "localhost", upstream.Address().Port
	s.config.upstream = "method = [\"connector\", \"direct\"]"
	s.config.more += "\n[[upstream.recipients]]\ndomain = \"own\"\nmethod = \"connector\"\n[[upstream.recipients]]\ndomain = \"*\"\nmethod = \"direct\"\n"
	s.configure()
	s.start()
	if output, err := s.swaks("--to", "bob@contoso.com"); err != nil || !strings.Contains(output, "accepted by localhost") {
		t.Errorf("to an own domain: %v\n%s", err, output)
	}
	if output, err := s.swaks("--to", "alice@plain.example"); err != nil || !strings.Contains(output, "accepted by mx1.lab.example") {
		t.Errorf("to another domain: %v\n%s", err, output)
	}
	if output, err := s.swaks("--to", "alice@plain.example,bob@contoso.com"); err != nil || !strings.Contains(output, "is queued and will be sent") {
		t.Errorf("to both: %v\n%s", err, output)
	}
	s.awaitEmpty()
	if direct, err := r.public.Messages(2); err != nil || len(direct) != 2 || len(upstream.Messages()) != 2 {
		t.Errorf("got %d directly, %v, and %d by the connector, want 2 and 2", len(direct), err, len(upstream.Messages()))
	}
	for _, m := range upstream.Messages() {
		if strings.Join(m.Recipients, " ") != "bob@contoso.com" {
			t.Errorf("the connector got a message to %v", m.Recipients)
		}
	}
}
