package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sealpost/hal/fault"
	"sealpost/tests/rigs/parts"
)

// publish publishes lines of a zone file.
func publish(server *parts.NameServer, lines []string) {
	for _, line := range lines {
		name, quoted, _ := strings.Cut(line, " 3600 IN TXT ( ")
		server.Add(name, dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: strings.Split(strings.Trim(strings.TrimSuffix(quoted, " )"), `"`), `" "`)})
	}
}

// zoneLines returns the lines for a zone file in the output of a command.
func zoneLines(t *testing.T, out string) (keys string, lines []string) {
	t.Helper()
	var printed struct {
		Keys    string
		Records []struct{ Name, Value, Zone string }
	}
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, r := range printed.Records {
		lines = append(lines, r.Zone)
	}
	return printed.Keys, lines
}

// TestDKIM_RotatesKeysByCommands goes through a rotation with a name server.
func TestDKIM_RotatesKeysByCommands(t *testing.T) {
	server := parts.StartNameServer(t)
	configure(t, strings.Replace(good, `["contoso.com"]`, `["contoso.com", "fabrikam.com"]`, 1)+fmt.Sprintf("[upstream]\ndns = [%q]\n", server.Address()))
	must := func(want string, args ...string) string {
		t.Helper()
		status, out, errs := runCommand("", append([]string{"dkim"}, args...)...)
		if status != exitDone || !strings.Contains(out, want) {
			t.Fatalf("%v: status %d: %s%s, want %q", args, status, out, errs, want)
		}
		return out
	}
	refused := func(code fault.Code, args ...string) string {
		t.Helper()
		status, out, errs := runCommand("", append([]string{"dkim", "--json"}, args...)...)
		if status != exitFailed || !strings.Contains(errs, string(code)) || out != "" {
			t.Fatalf("%v: status %d: %s%s, want the fault %s", args, status, out, errs, code)
		}
		return errs
	}
	if status, _, errs := runCommand("", "dkim", "show"); status != exitFailed || !strings.Contains(errs, "no state") {
		t.Errorf("without a state: status %d: %s", status, errs)
	}
	first, lines := zoneLines(t, must("", "record", "--json"))
	if _, again := zoneLines(t, must("", "record", "--json")); len(lines) != 4 || !slices.Equal(again, lines) {
		t.Errorf("got %q and then %q, want four records twice", lines, again)
	}
	if text := must("value  v=DKIM1; k=rsa; p=", "record"); !strings.Contains(text, lines[0]+"\n") {
		t.Errorf("got %s, want %s", text, lines[0])
	}
	must("mail is sent without a signature", "show")
	refused(fault.DKIMRotating, "rotate")
	if errs := refused(fault.DKIMUnpublished, "activate"); strings.Count(errs, "is not published") != 4 {
		t.Errorf("got %s, want four missing records", errs)
	}
	publish(server, lines[:3])
	if errs := refused(fault.DKIMUnpublished, "activate"); strings.Count(errs, "is not published") != 1 || !strings.Contains(errs, first+"-e._domainkey.fabrikam.com") {
		t.Errorf("got %s, want the missing record", errs)
	}
	publish(server, lines)
	must("signs since", "activate")
	refused(fault.DKIMRotated, "retire")

	second, _ := zoneLines(t, must("", "rotate", "--json"))
	if second == first {
		t.Errorf("got twice the keys %s", first)
	}
	refused(fault.DKIMUnpublished, "activate")
	if shown := must("", "show", "--json"); !strings.Contains(shown, `"state": "next"`) || !strings.Contains(shown, `"protection": "file"`) || strings.Contains(shown, "clear") || strings.Contains(shown, "private") {
		t.Errorf("got %s", shown)
	}
	third, next := zoneLines(t, must("", "rotate", "--replace", "--json"))
	publish(server, next)
	must("retire the old keys after", "activate")
	refused(fault.DKIMRotating, "rotate")
	refused(fault.DKIMInFlight, "retire")
	must(first+"-r._domainkey.contoso.com\n", "retire", "--force")
	if shown := must(third, "show"); strings.Contains(shown, first) || strings.Contains(shown, second) {
		t.Errorf("got %s, want only %s", shown, third)
	}
}

// TestCheck_LooksUpWhatReceiversDo checks direct delivery before and after the records are
// published.
func TestCheck_LooksUpWhatReceiversDo(t *testing.T) {
	server := parts.StartNameServer(t)
	configure(t, strings.Replace(good, "[keys]", "[lan]\nhostname = \"mail.contoso.com\"\n[keys]", 1)+fmt.Sprintf("[upstream]\nmethod = \"direct\"\ndns = [%q]\ntimeout = \"5s\"\n[upstream.direct]\nport = 1\n", server.Address()))
	check := func(wants ...string) {
		t.Helper()
		_, out, errs := runCommand("", "check")
		for _, want := range wants {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("got %s%s, want %q", out, errs, want)
			}
		}
	}
	check("problem reverse DNS mail.contoso.com, by which the box introduces itself, has no public address",
		"note DKIM there are no keys yet", "note DMARC contoso.com has no DMARC record")

	text := func(name, value string) {
		server.Add(name, dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: []string{value}})
	}
	server.Add("mail.contoso.com.", dnsmessage.TypeA, &dnsmessage.AResource{A: [4]byte{203, 0, 113, 5}})
	server.Add("contoso.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: dnsmessage.MustNewName("localhost.")})
	text("contoso.com.", "v=spf1 ip4:198.51.100.0/24 -all")
	text("_dmarc.contoso.com.", "v=DMARC1; p=reject")
	_, out, _ := runCommand("", "dkim", "record", "--json")
	keys, lines := zoneLines(t, out)
	check("problem reverse DNS 203.0.113.5 has no name", "note DKIM not published yet: mail is sent without a signature until the keys "+keys,
		"problem SPF the SPF record of contoso.com does not permit 203.0.113.5 (fail): add ip4:203.0.113.5",
		"problem DMARC mail from contoso.com does not pass", "note port 25 localhost cannot be reached on port 1")

	publish(server, lines)
	if status, _, errs := runCommand("", "dkim", "activate"); status != exitDone {
		t.Fatal(errs)
	}
	server.Add("5.113.0.203.in-addr.arpa.", dnsmessage.TypePTR, &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("mail.contoso.com.")})
	text("contoso.com.", "v=spf1 a:mail.contoso.com -all")
	check("ok reverse DNS 203.0.113.5 is mail.contoso.com", "ok DKIM mail from contoso.com is signed by "+keys,
		"ok SPF contoso.com permits 203.0.113.5", "ok DMARC mail from contoso.com passes; the policy at contoso.com is reject")

	publish(server, []string{strings.Replace(lines[0], "p=MIIB", "p=AAAA", 1)})
	check("problem DKIM receivers cannot verify the signatures: " + keys + "-r._domainkey.contoso.com is published with another key")
}
