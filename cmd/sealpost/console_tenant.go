package main

import (
	"context"
	"iter"
	"time"

	"sealpost/provisioning/console"
	"sealpost/provisioning/preflight"
)

// loginPatience is longer than any code lives.
const loginPatience = 40 * time.Minute

func (b consoleBox) TenantScript(ctx context.Context) (string, error) {
	text, err := textOf(ctx, b.command("tenant", "script"), "")
	return consoleWords.Replace(text), err
}

func (b consoleBox) TenantCertificate(ctx context.Context) (string, error) {
	return textOf(ctx, b.command("tenant", "certificate"), "")
}

func (b consoleBox) VerifyTenant(ctx context.Context) iter.Seq2[preflight.Finding, error] {
	return func(yield func(preflight.Finding, error) bool) {
		for finding, err := range linesOf[preflight.Finding](ctx, b.command("tenant", "verify", "--json"), "") {
			finding.Words = consoleWords.Replace(finding.Words)
			if !yield(finding, err) {
				return
			}
		}
	}
}

func (b consoleBox) SignIn(ctx context.Context) iter.Seq2[console.Step, error] {
	type line struct {
		invitation
		signedIn
	}
	return func(yield func(console.Step, error) bool) {
		for said, err := range linesWithin[line](ctx, loginPatience, b.command("tenant", "login", "--json"), "") {
			steps := []console.Step{{Name: "page", Words: said.URL}, {Name: "code", Words: said.Code}, {Name: "as", Words: said.Mailbox}}
			if said.URL == "" {
				steps = []console.Step{{Name: "signed in", Words: said.signedIn.String()}}
			}
			for _, s := range steps {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}
