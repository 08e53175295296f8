package console

import (
	"strings"
	"testing"
	"testing/synctest"

	"sealpost/provisioning/settings"
)

// newerSettings are settings that a later version has stored.
const newerSettings = fakeSettings + "colour = \"blue\"\n[archive]\nkeep = \"30d\"\n"

// newerBox is a box whose settings a later version has stored.
func newerBox() *fakeBox {
	box := newFakeBox()
	box.running.Settings, box.running.Schema = newerSettings, settings.Schema+1
	return box
}

func TestConsole_NamesTheKeysThatAChangeTakesOutBeforeItIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newerBox()
		line, pull := plug(t.Context(), New(box))
		output := line.typeAll("\r", "5\r")
		for _, key := range []string{"removes them", "site.colour is not known", "archive is not known"} {
			if !strings.Contains(output, key) {
				t.Errorf("%q is missing in:\n%s", key, output)
			}
		}
		if output := line.typeAll("2\r", "192.168.10.30/24\r", "\r", "\r", "apply\r"); !strings.Contains(output, "The changes are active.") {
			t.Fatalf("got %s, want text with %q", output, "The changes are active.")
		}
		s, err := settings.Parse([]byte(box.commits[0].Settings))
		if err != nil || s.Limits.Recipients != 30 || s.Network.Address.String() != "192.168.10.30/24" || !box.commits[0].Trial {
			t.Errorf("%v:\n%s", err, box.commits[0].Settings)
		}
		line.typeAll("back\r")
		if box.running.Settings != newerSettings {
			t.Errorf("rolled back to:\n%s", box.running.Settings)
		}
		_ = pull()
	})
}

func TestConsole_LeavesUnknownKeysStoredWhereNothingIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newerBox()
		line, pull := plug(t.Context(), New(box))
		if output := line.typeAll("\r", "5\r", "1\r"); !strings.Contains(output, "Nothing was changed") {
			t.Errorf("got %s, want text with %q", output, "Nothing was changed")
		}
		output := line.typeAll("6\r")
		for _, text := range []string{"colour = \"blue\"", "but stay stored", "archive is not known"} {
			if !strings.Contains(output, text) {
				t.Errorf("%q is missing in:\n%s", text, output)
			}
		}
		if len(box.commits) > 0 || box.running.Settings != newerSettings {
			t.Errorf("commits %v", box.commits)
		}
		_ = pull()
	})
}

func TestConsole_ShowsTheCureForUnusableSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox()
		box.running.Settings = "[upstream]\nmethod = \"quantum\"\n"
		line, pull := plug(t.Context(), New(box))
		output := strings.Join(strings.Fields(line.typeAll("\r", "5\r")+line.typeAll("6\r")), " ")
		for _, text := range []string{`"quantum" is not a delivery method`, "install the version again", "2 paste new ones"} {
			if !strings.Contains(output, text) {
				t.Errorf("%q is missing in:\n%s", text, output)
			}
		}
		_ = pull()
	})
}
