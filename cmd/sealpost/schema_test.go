//go:build !quick

package main

import (
	"strconv"
	"strings"
	"testing"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/flash"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/tests/rigs/parts"
)

func TestRelay_WorksBySettingsThatAnotherVersionHasStored(t *testing.T) {
	const unknown = "\n[archive]\nkeep = \"30d\"\n"
	for name, c := range map[string]struct {
		schema int // 0 for none, as the first versions stored it
		more   string
	}{
		"older": {0, ""},
		"own":   {settings.Schema, ""},
		"newer": {settings.Schema + 1, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			text := strings.Replace(cloud.settings(""), "unix:/nowhere/tpm", parts.StartSwtpm(t).Address(), 1) + c.more
			boxOf(t, strings.TrimSuffix(text, c.more))
			store(t, text, c.schema)
			address, journal := startRelay(t, "--config=", "--state=box.state")
			if err := send(address, boxUser); err != nil {
				t.Fatalf("%v\n%s", err, journal)
			}
			if got := len(cloud.tenant.Messages()); got != 1 {
				t.Errorf("%d messages arrived:\n%s", got, journal)
			}
			running := candidate.Running{}
			err := wire.Options{State: "box.state"}.WithStore(func(s candidate.Store) (err error) {
				running, err = candidate.Load(t.Context(), s)
				return err
			})
			if err != nil || running.Settings != text {
				t.Errorf("%v, stored is\n%s", err, running.Settings)
			}
		})
	}
}

// store writes settings to the state as a version with that schema does.
func store(t *testing.T, text string, schema int) {
	t.Helper()
	device, err := flash.Open("box.state")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	area, err := wire.StoreIn(device)
	if err != nil {
		t.Fatal(err)
	}
	err = area.Update(t.Context(), func(sections state.Sections) error {
		sections["settings"] = []byte(text)
		delete(sections, "settings schema")
		if schema > 0 {
			sections["settings schema"] = []byte(strconv.Itoa(schema))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
