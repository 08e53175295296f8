package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
)

// TestMain runs the program as the child process that a console starts.
func TestMain(m *testing.M) {
	const child = "SEALPOST_TEST_CHILD"
	if os.Getenv(child) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	_ = os.Setenv(child, "yes")
	os.Exit(m.Run())
}

// boxOf returns a box, for an operator, with these settings in its state.
func boxOf(t *testing.T, settings string) operator.Local {
	t.Helper()
	configure(t, settings)
	runCommand("", "tenant", "verify") // creates the state
	box := operator.Local{Options: wire.Options{State: "box.state", Control: "box.state.sock", TPM: "unix:/nowhere/tpm"}, By: "the test"}
	if err := box.Commit(t.Context(), candidate.Candidate{Settings: settings}); err != nil {
		t.Fatal(err)
	}
	return box
}

// verify runs the checks of the console's tenant menu up to the first problem, and
// returns their text and whether all passed.
func verify(t *testing.T, box operator.Local) (text string, passed bool) {
	t.Helper()
	passed = true
	for finding, err := range box.VerifyTenant(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintln(finding.Name, finding.Text, finding.Code)
		if finding.Level == certificate.Problem {
			passed = false
			break
		}
	}
	return text, passed
}

func TestConsole_SignsTheBoxIn(t *testing.T) {
	c := newCloud(t)
	c.respond = func(path string, _ url.Values) (int, any) {
		if path == "/device" {
			return http.StatusOK, map[string]any{"device_code": "hidden", "user_code": "ABCD-EFGH",
				"verification_uri": "https://microsoft.com/devicelogin", "expires_in": 900, "interval": 1}
		}
		return http.StatusOK, tokenBody(unsignedToken(map[string]any{"aud": "https://outlook.office.com", "scp": "SMTP.Send", "upn": boxUser}), "refresh")
	}
	box := boxOf(t, c.settings(`grant = "device"`))
	if text, passed := verify(t, box); passed || !strings.Contains(text, string(fault.NoSignIn)) {
		t.Errorf("before the sign-in: got %s, want %s", text, fault.NoSignIn)
	}
	var printed strings.Builder
	for step, err := range box.SignIn(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		printed.WriteString(step.Name + " " + step.Text + "\n")
	}
	if want := "page https://microsoft.com/devicelogin\ncode ABCD-EFGH\nas " + boxUser + "\nsigned in The box is signed in as " + boxUser + ".\n"; printed.String() != want {
		t.Errorf("got %s, want %s", printed.String(), want)
	}
	if text, passed := verify(t, box); !passed {
		t.Errorf("after the sign-in: got %s, want it to pass", text)
	}
}

func TestConsole_AcceptsAClientSecretAndPrintsTheTenantSetup(t *testing.T) {
	c := newCloud(t)
	box := boxOf(t, c.settings(`grant = "secret"`))
	if err := box.Commit(t.Context(), candidate.Candidate{ClientSecret: "very~secret"}); err != nil {
		t.Fatal(err)
	}
	if text, passed := verify(t, box); !passed {
		t.Errorf("after the secret: got %s, want it to pass", text)
	}
	if got := c.forms()[0].Get("client_secret"); got != "very~secret" {
		t.Errorf("the issuer got %q, want %q", got, "very~secret")
	}
	if _, err := box.TenantScript(t.Context()); err == nil || !strings.Contains(err.Error(), "other than Entra ID") {
		t.Errorf("a script for another issuer: got %v, want an error with %q", err, "other than Entra ID")
	}
	box = boxOf(t, c.settings(""))
	if pem, err := box.TenantCertificate(t.Context()); err != nil || !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("got %s, %v, want a certificate", pem, err)
	}
}

func TestTenantScript_NamesOnlyConsoleCommands(t *testing.T) {
	urls := regexp.MustCompile(`(?m)^(token|device)_url.*$`)
	box := boxOf(t, urls.ReplaceAllString(newCloud(t).settings(`grant = "secret"`), ""))
	script, err := box.TenantScript(t.Context())
	if err != nil || !strings.Contains(script, "Connect-ExchangeOnline") || !strings.Contains(script, "tenant in the menu") || strings.Contains(script, "sealpost ") {
		t.Errorf("got %s, %v, want a script for Exchange Online that names the menu", script, err)
	}
}
