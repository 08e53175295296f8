//go:build !quick

package main

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

func TestCheck_LogsInToTheMailbox(t *testing.T) {
	c := newCloud(t)
	configure(t, strings.Replace(c.settings(""), "unix:/nowhere/tpm", parts.StartSwtpm(t).Address(), 1))
	startRelay(t)
	if status, out, errs := runCommand("", "check"); status != exitDone || !strings.Contains(out, boxUser+" logged in by XOAUTH2") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if sent := len(c.tenant.Messages()); sent > 0 {
		t.Errorf("%d messages were sent", sent)
	}
}
