package appliance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/tests/site"
)

// stick is a USB stick's content, as mtools name it: a file and, behind @@, where
// in it the file system begins.
type stick struct{ image string }

// insert puts the stick into the box.
func (s stick) insert(b *box, name string) error {
	file, _, _ := strings.Cut(s.image, "@@")
	return b.Insert(name, file)
}

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
	tool(t, "mkfs.vfat", "-F", "32", "-C", s.image, "65536")
	tree := t.TempDir()
	for name, content := range files {
		path := filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) > 0 {
		tool(t, "mcopy", "-s", "-i", s.image, filepath.Join(tree, "sealpost"), "::")
	}
	return s
}

// partitioned is the same stick with a table of partitions (MBR) in front.
func partitioned(t *testing.T, s stick) stick {
	t.Helper()
	volume, err := os.ReadFile(s.image)
	if err != nil {
		t.Fatal(err)
	}
	const sector, first, entry, fat32 = 512, 2048, 446, 0x0c
	disk := make([]byte, first*sector, first*sector+len(volume))
	disk[entry+4] = fat32
	binary.LittleEndian.PutUint32(disk[entry+8:], first)
	binary.LittleEndian.PutUint32(disk[entry+12:], uint32(len(volume)/sector))
	disk[sector-2], disk[sector-1] = 0x55, 0xaa
	if err := os.WriteFile(s.image, append(disk, volume...), 0o600); err != nil {
		t.Fatal(err)
	}
	return stick{s.image + "@@1M"}
}

// largeStick claims settings of the largest size that FAT knows.
func largeStick(t *testing.T) stick {
	t.Helper()
	s := newStick(t, map[string]string{"sealpost/sealpost.toml": "x"})
	disk, err := os.ReadFile(s.image)
	if err != nil {
		t.Fatal(err)
	}
	const size = 28 // of the file, in its folder's entry
	at := bytes.Index(disk, []byte("SEALPO~1TOM"))
	if at < 0 {
		t.Fatal("the file has no entry")
	}
	binary.LittleEndian.PutUint32(disk[at+size:], math.MaxUint32)
	if err := os.WriteFile(s.image, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// result is what the box wrote onto the stick, which must be out of the box.
func (s stick) result(t *testing.T) string {
	t.Helper()
	return tool(t, "mtype", "-i", s.image, "::sealpost/result.txt")
}

// filesFor are all that a box needs to become the site's.
func filesFor(s *site.Site) map[string]string {
	return map[string]string{
		"sealpost/sealpost.toml": settingsFor(s),
		"sealpost/contoso.pfx":   string(s.PFX),
		"sealpost/password.txt":  s.Password + "\r\n",
	}
}

// stickFor holds them.
func stickFor(t *testing.T, s *site.Site) stick {
	t.Helper()
	return newStick(t, filesFor(s))
}

// take has the box look at a stick, pulls it once the lamp says what became of
// it, and gives the result.
func (b *box) take(t *testing.T, name string, s stick, said flashes) string {
	t.Helper()
	b.show(t, name, s, said)
	return s.result(t)
}

// show has the box look at a stick, and pulls it once the lamp says what became
// of it.
func (b *box) show(t *testing.T, name string, s stick, said flashes) {
	t.Helper()
	if err := s.insert(b, name); err != nil {
		t.Fatal(err)
	}
	b.awaitLamp(t, said)
	if err := b.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestAStickAloneSetsUpTheBox(t *testing.T) {
	s, b := openSite(t), start(t)
	first := stickFor(t, s)
	text := b.take(t, "first", first, done)
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
	if text := b.take(t, "again", first, done); !strings.Contains(text, "taken exactly these files over before") {
		t.Errorf("the same stick once more:\n%s", text)
	}
}

func TestAStickThatIsRefusedChangesNothingAndSaysWhy(t *testing.T) {
	s, b := openSite(t), start(t)
	crowd := map[string]string{}
	for i := range 10_000 {
		crowd[fmt.Sprintf("sealpost/%d.pfx", i)] = "x"
	}
	for name, c := range map[string]struct {
		stick stick
		words []string
	}{
		"wrong password": {newStick(t, map[string]string{"sealpost/sealpost.toml": settingsFor(s), "sealpost/contoso.pfx": string(s.PFX), "sealpost/password.txt": "guess"}),
			[]string{"sealpost/password.txt: this password does not open sealpost/contoso.pfx", "serial console"}},
		"bad TOML":     {newStick(t, map[string]string{"sealpost/sealpost.toml": "[site\n"}), []string{"sealpost/sealpost.toml: line 1: ", "correct this line"}},
		"10,000 files": {newStick(t, crowd), []string{"more than 1000 files"}},
		"a large file": {largeStick(t), []string{"sealpost/sealpost.toml: it is larger than 64 KiB"}},
		"another box":  {newStick(t, map[string]string{"sealpost/525400999999/sealpost.toml": settingsFor(s)}), []string{"(525400999999)", "525400123456"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := b.take(t, "stick", c.stick, refused)
			for _, words := range append(c.words, "Nothing was changed") {
				if !strings.Contains(text, words) {
					t.Errorf("the result does not say %q:\n%s", words, text)
				}
			}
		})
	}
	t.Run("broken file system", func(t *testing.T) {
		broken := newStick(t, nil)
		file, err := os.OpenFile(broken.image, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.Write(make([]byte, 512))
		}
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		b.show(t, "broken", broken, refused)
	})
	if greeting := b.greeting(); greeting != "" {
		t.Errorf("the box says %q", greeting)
	}
	b.awaitLamp(t, factory)
	b.awaitLog(t, "format the stick as FAT32")
	if text := b.take(t, "good", partitioned(t, stickFor(t, s)), done); text == "" {
		t.Error("no result")
	}
	b.awaitBanner(t)
}

func TestAnExFATStickSetsUpTheBoxToo(t *testing.T) {
	s, b := openSite(t), start(t)
	large := exFATStick(t, filesFor(s))
	b.show(t, "large", large, done)
	content, err := os.ReadFile(large.image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte("The box has taken this over.")) {
		t.Error("the result is not on the stick")
	}
	b.relays(t, s, 1)
}

func TestAStickThatCannotBeWrittenToIsTakenAndSaidSo(t *testing.T) {
	s, b := openSite(t), start(t)
	if err := b.InsertProtected("protected", stickFor(t, s).image); err != nil {
		t.Fatal(err)
	}
	b.awaitLamp(t, done)
	b.awaitLog(t, "write-protected")
	b.relays(t, s, 1)
}

func TestAStickPulledInTheMiddleLeavesTheBoxAsItWasOrWholly(t *testing.T) {
	s, b := openSite(t), start(t)
	b.awaitLog(t, "console on /dev/ttyGS0")
	for i, wait := range []time.Duration{0, 100, 300, 600, 1000, 1500} {
		name := fmt.Sprintf("pulled%d", i)
		if err := stickFor(t, s).insert(b, name); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitLogTimes(i+1, stickThere); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		if err := b.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	b.show(t, "left", stickFor(t, s), done)
	b.relays(t, s, 1)
}
