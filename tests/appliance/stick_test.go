package appliance

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/site"
)

// stick is a USB stick's content.
type stick struct{ image string }

// tool runs a program that makes or reads sticks.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output)
}

// newStick is a stick of 64 MiB without partitions, formatted as FAT, with
// these files.
func newStick(t *testing.T, files map[string]string) stick {
	t.Helper()
	s := stick{filepath.Join(t.TempDir(), "stick")}
	tool(t, "mkfs.vfat", "-C", s.image, "65536")
	var folders []string
	for name, content := range files {
		dir := path.Dir(name)
		for i, c := range dir + "/" {
			if folder := dir[:min(i, len(dir))]; c == '/' && folder != "." && !slices.Contains(folders, folder) {
				tool(t, "mmd", "-i", s.image, "::"+folder)
				folders = append(folders, folder)
			}
		}
		source := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "mcopy", "-i", s.image, source, "::"+name)
	}
	return s
}

// result is what the box wrote onto the stick, which must be out of the box.
func (s stick) result(t *testing.T) string {
	t.Helper()
	return tool(t, "mtype", "-i", s.image, "::sealpost/result.txt")
}

// stickFor holds all that a box needs to become the site's.
func stickFor(t *testing.T, s *site.Site) stick {
	t.Helper()
	return newStick(t, map[string]string{
		"sealpost/sealpost.toml": settingsFor(s),
		"sealpost/contoso.pfx":   string(s.PFX),
		"sealpost/password.txt":  s.Password + "\r\n",
	})
}

// take has the box look at a stick and pulls it once the box is done with it.
func (b *box) take(t *testing.T, name string, s stick) string {
	t.Helper()
	b.becomes(t, "event=stick", func() error { return b.Insert(name, s.image) })
	text := ""
	// The box writes the result last.
	for deadline := time.Now().Add(time.Minute); !strings.Contains(text, "Next: "); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the stick got no result:\n%s\n%s", text, b.KernelLog())
		}
		output, _ := exec.Command("mtype", "-i", s.image, "::sealpost/result.txt").CombinedOutput()
		text = string(output)
	}
	if err := b.Remove(name); err != nil {
		t.Fatal(err)
	}
	return s.result(t)
}

func TestAStickAloneSetsUpTheBox(t *testing.T) {
	s, b := openSite(t), start(t)
	first := stickFor(t, s)
	text := b.take(t, "first", first)
	for _, words := range []string{"The box has taken this over.", "525400123456", "sealpost/contoso.pfx", "\r\n"} {
		if !strings.Contains(text, words) {
			t.Errorf("the result does not say %q:\n%s", words, text)
		}
	}
	if strings.Contains(text, s.Password) || strings.Contains(b.KernelLog(), s.Password) {
		t.Error("the password is in the result or in the log")
	}
	b.awaitBanner(t)
	if err := b.send("first"); err != nil {
		t.Fatal(err)
	}
	texts, err := s.Postfix.Messages(1)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.KernelLog())
	}
	if !strings.Contains(texts[0], `Client CN "relay.contoso.com"`) {
		t.Errorf("Postfix says of the certificate:\n%s", texts[0])
	}
	if text := b.take(t, "again", first); !strings.Contains(text, "taken exactly these files over before") {
		t.Errorf("the same stick once more:\n%s", text)
	}
}
