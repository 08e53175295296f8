package main

import (
	"net"
	"strings"
	"testing"

	"sealpost/hal/fault"
	"sealpost/provisioning/settings"
)

func TestSubmission_SendsWithATokenRequestedByTheBoxKey(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(""))
	address, journal := startRelay(t)
	if err := send(address, boxUser); err != nil {
		t.Fatalf("%v\n%s", err, journal)
	}
	journal.await(t, "event=delivered")
	login := c.tenant.Logins()[0]
	if login.User != boxUser || login.Token != appOnly() || login.Mechanism != "XOAUTH2" {
		t.Errorf("got login %+v, want the mailbox and the issued token", login)
	}
	form := c.forms()[0]
	if form.Get("grant_type") != "client_credentials" || form.Get("client_id") != boxClient || form.Get("client_secret") != "" ||
		strings.Count(form.Get("client_assertion"), ".") != 2 || form.Get("scope") != "https://outlook.office365.com/.default" {
		t.Errorf("got token request %v, want client credentials with a signed assertion and the scope", form)
	}
	journal.await(t, `event="access token" grant=certificate`)
	if strings.Contains(journal.String(), appOnly()) || strings.Contains(journal.String(), form.Get("client_assertion")) {
		t.Error("got the token or the assertion in the journal, want neither")
	}
}

func TestTenantVerify_AsksForATokenOfTheTenantsCloud(t *testing.T) {
	for _, name := range settings.Clouds {
		t.Run(string(name), func(t *testing.T) {
			c, exchange := newCloud(t), name.Services().Exchange
			c.respond = respondToken(map[string]any{"aud": exchange, "roles": []string{"SMTP.SendAsApp"}, "appid": boxClient})
			configure(t, strings.Replace(c.settings(""), "[upstream]", "[upstream]\ncloud = \""+string(name)+"\"", 1))
			status, out, errs := runCommand("", "tenant", "verify", "--to", "alerts@msp.example")
			if status != exitDone || !strings.Contains(out, exchange) || len(c.tenant.Messages()) != 1 {
				t.Errorf("got status %d: %s%s", status, out, errs)
			}
			if form := c.forms()[0]; form.Get("scope") != exchange+"/.default" {
				t.Errorf("got scope %q, want %s/.default", form.Get("scope"), exchange)
			}
			if status, out, errs := runCommand("", "tenant", "register", "--cloud", string(name)); status != exitDone || !strings.Contains(out, "-NoWelcome"+environment(name)+"\n") {
				t.Errorf("got status %d: %s%s", status, out, errs)
			}
		})
	}
	if status, _, errs := runCommand("", "tenant", "register", "--cloud", "gcc"); status != exitUsage || !strings.Contains(errs, `"gcc" is not a cloud: write "global"`) {
		t.Errorf("got status %d and %s, want %d and the clouds", status, errs, exitUsage)
	}
}

// environment is the option of Connect-MgGraph for a cloud.
func environment(name settings.Cloud) string {
	if name == settings.CloudGlobal {
		return ""
	}
	return " -Environment " + name.Services().GraphEnvironment
}

func TestSubmission_ReplacesAForeignSenderWithTheMailbox(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(""))
	address, journal := startRelay(t)
	if err := send(address, "scanner@localhost.localdomain"); err != nil {
		t.Fatalf("%v\n%s", err, journal)
	}
	journal.await(t, "event=delivered")
	if got := c.tenant.Messages()[0]; got.User != boxUser || got.Sender != boxUser {
		t.Errorf("got sender %s and mailbox %s, want the mailbox as both", got.Sender, got.User)
	}
}

func TestSubmission_HoldsMailWithoutAClientSecret(t *testing.T) {
	c := newCloud(t)
	configure(t, c.settings(`grant = "secret"`))
	address, journal := startRelay(t)
	if err := send(address, boxUser); err != nil {
		t.Fatalf("%v\n%s", err, journal)
	}
	const cure = "enter it with: sealpost tenant secret"
	if got := journal.await(t, `event="no access token"`); !strings.Contains(got, "code="+string(fault.NoClientSecret)) {
		t.Errorf("got journal %s, want code %s", got, fault.NoClientSecret)
	}
	if status, out, errs := runCommand("", "check"); status != exitFailed || !strings.Contains(out, cure) {
		t.Errorf("got status %d: %s%s", status, out, errs)
	}
	if status, out, errs := runCommand("", "check"); status != exitFailed || strings.Contains(out, "connector") {
		t.Errorf("got status %d and %s%s, want no mention of a connector", status, out, errs)
	}
	if requests := len(c.forms()) + len(c.tenant.Logins()); requests > 0 {
		t.Errorf("got %d token requests and logins, want none without a secret", requests)
	}
}

func TestTestMessage_IsSentThroughTheMailbox(t *testing.T) {
	c := newCloud(t)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	free := listener.Addr().String()
	_ = listener.Close()
	configure(t, strings.Replace(c.settings(""), "127.0.0.1:0", free, 1))
	address, journal := startRelay(t)
	// On a busy machine the first access token may take longer than a client waits for
	// its reply: the test message uses the token of another message, on a new connection.
	if err := send(address, boxUser); err != nil {
		t.Fatal(err)
	}
	journal.await(t, "event=delivered")
	c.tenant.DropConnections()
	status, out, errs := runCommand("", "send-test", "--to", "alerts@msp.example")
	if status != exitDone || !strings.Contains(out, "logged in as "+boxUser) || !strings.Contains(out, "delivered") {
		t.Errorf("got status %d: %s%s", status, out, errs)
	}
}
