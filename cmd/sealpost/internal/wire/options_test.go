package wire

import (
	"path/filepath"
	"testing"

	"sealpost/provisioning/settings"
)

func TestDefaultState_IsWhereThePlatformKeepsState(t *testing.T) {
	for _, c := range []struct{ name, systemd, xdg, want string }{
		{"systemd", "/var/lib/sealpost", "/home/u/state", "/var/lib/sealpost/box.state"},
		{"systemd with two folders", "/var/lib/sealpost:/var/lib/other", "", "/var/lib/sealpost/box.state"},
		{"XDG", "", "/home/u/state", "/home/u/state/sealpost/box.state"},
		{"XDG that is relative counts as unset", "", "state", "/home/u/.local/state/sealpost/box.state"},
		{"neither", "", "", "/home/u/.local/state/sealpost/box.state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", c.systemd)
			t.Setenv("XDG_STATE_HOME", c.xdg)
			t.Setenv("HOME", "/home/u")
			if got, err := DefaultState(); err != nil || got != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestAnyState_CreatesTheFolderOfTheDefaultStateOnly(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_STATE_HOME", dir)
	s := settings.Default()
	s.Spool.Size = settings.MinSpoolSize
	s.State.Path = filepath.Join(dir, "elsewhere", "box.state")
	if _, err := AnyState(s); err == nil {
		t.Error("created a folder that the settings named")
	}
	s.State.Path = filepath.Join(dir, "sealpost", "box.state")
	device, err := AnyState(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Error(err)
	}
}
