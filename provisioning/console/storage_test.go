package console

import (
	"strings"
	"testing"
	"testing/synctest"

	"sealpost/hal/fault"
)

func TestConsole_OffersWhatABoxWithoutItsStorageStillCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.broken = fault.New(fault.NoStorage, "the storage device did not appear: open /dev/mmcblk0p4")
		line, pull := plug(t.Context(), New(box))
		output := line.typeAll("\r", "status\r", "restart\r", "yes\r")
		for _, text := range []string{"/dev/mmcblk0p4", "fitted firmly", "1  status", "2  logs", "3  clock", "4  restart", "The box restarts."} {
			if !strings.Contains(strings.Join(strings.Fields(output), " "), strings.Join(strings.Fields(text), " ")) {
				t.Errorf("%q is missing in:\n%s", text, output)
			}
		}
		if strings.Contains(output, "factory reset") || strings.Contains(output, "sealpost ") {
			t.Errorf("it offers what cannot be done:\n%s", output)
		}
		box.broken = nil
		if output := line.typeAll("status\r", "\r"); !strings.Contains(output, "factory reset") {
			t.Errorf("once the storage is there the menu is still\n%s", output)
		}
		_ = pull()
	})
}
