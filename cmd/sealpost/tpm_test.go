//go:build !quick

package main

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

func TestTPMCommand_ListsSupportedKeys(t *testing.T) {
	settings := strings.Replace(good, "unix:/nowhere/tpm", parts.StartSwtpm(t).Address(), 1)
	status, out, errs := sealpost(t, settings, "tpm")
	if status != exitDone || !strings.Contains(out, ": ready\n") || !strings.Contains(out, "RSA-2048, RSA-3072, P-256, P-384") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}
