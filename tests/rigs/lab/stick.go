package lab

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// Stick is the image of a USB stick in mtools' notation: a file name and, after
// @@, the offset of the file system.
type Stick struct{ Image string }

// Insert plugs the stick into the box.
func (s Stick) Insert(b *Box, name string) error {
	file, _, _ := strings.Cut(s.Image, "@@")
	return b.Insert(name, file)
}

// Tool runs a program that writes or reads stick images.
func Tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output)
}

// NewStick returns a stick with these files.
func NewStick(t *testing.T, files map[string]string) Stick {
	t.Helper()
	s := Stick{filepath.Join(t.TempDir(), "stick")}
	if err := parts.MakeStick(s.Image, files); err != nil {
		t.Fatal(err)
	}
	return s
}

// FilesFor returns the files that set up a box for the site.
func FilesFor(s *site.Site) map[string]string {
	return map[string]string{
		"sealpost/sealpost.toml": SettingsFor(s),
		"sealpost/contoso.pfx":   string(s.PFX),
		"sealpost/password.txt":  s.Password + "\r\n",
	}
}

// StickFor returns a stick with these files.
func StickFor(t *testing.T, s *site.Site) Stick {
	t.Helper()
	return NewStick(t, FilesFor(s))
}

// Result returns the result file that the box wrote. The stick must be removed
// from the box first.
func (s Stick) Result(t *testing.T) string {
	t.Helper()
	text, err := parts.StickResult(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
