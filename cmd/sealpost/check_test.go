package main

import (
	"slices"
	"testing"

	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

func TestATPMThatTheSettingsMakeNoUseOfIsNotLookedAt(t *testing.T) {
	for protection, looked := range map[settings.Protection]bool{settings.ProtectionTPM: true, settings.ProtectionFile: false} {
		b := &box{settings: settings.Default()}
		b.settings.Keys.Protection = protection
		if got := slices.ContainsFunc(b.checks(t.Context()), func(c preflight.Check) bool { return c.Name == "TPM" }); got != looked {
			t.Errorf("with keys.protection %q the TPM is looked at: %t", protection, got)
		}
	}
}
