package console

import (
	"strings"
	"testing"
	"testing/synctest"

	"sealpost/hal/fault"
)

func TestConsole_OffersOnlyWhatWorksWithoutStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.storageErr = fault.New(fault.NoStorage, "the storage device did not appear: open /dev/mmcblk0p4")
		line, pull := plug(t.Context(), New(box))
		output := line.typeAll("\r", "status\r", "restart\r", "yes\r")
		for _, text := range []string{"/dev/mmcblk0p4", "fitted firmly", "1  status", "2  logs", "3  clock", "4  restart", "The box restarts."} {
			if !strings.Contains(strings.Join(strings.Fields(output), " "), strings.Join(strings.Fields(text), " ")) {
				t.Errorf("the output lacks %q:\n%s", text, output)
			}
		}
		if strings.Contains(output, "factory reset") || strings.Contains(output, "sealpost ") {
			t.Errorf("got a choice that needs the storage:\n%s", output)
		}
		box.storageErr = nil
		if output := line.typeAll("status\r", "\r"); !strings.Contains(output, "factory reset") {
			t.Errorf("with storage: got menu\n%s\nwant factory reset in it", output)
		}
		_ = pull()
	})
}
