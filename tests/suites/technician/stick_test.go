package technician

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
)

// partitioned is the same stick with a table of partitions (MBR) in front.
func partitioned(t *testing.T, s lab.Stick) lab.Stick {
	t.Helper()
	volume, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	const sector, first, entry, fat32 = 512, 2048, 446, 0x0c
	disk := make([]byte, first*sector, first*sector+len(volume))
	disk[entry+4] = fat32
	binary.LittleEndian.PutUint32(disk[entry+8:], first)
	binary.LittleEndian.PutUint32(disk[entry+12:], uint32(len(volume)/sector))
	disk[sector-2], disk[sector-1] = 0x55, 0xaa
	if err := os.WriteFile(s.Image, append(disk, volume...), 0o600); err != nil {
		t.Fatal(err)
	}
	return lab.Stick{Image: s.Image + "@@1M"}
}

// largeStick claims settings of the largest size that FAT knows.
func largeStick(t *testing.T) lab.Stick {
	t.Helper()
	s := lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": "x"})
	disk, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	const size = 28 // of the file, in its folder's entry
	at := bytes.Index(disk, []byte("SEALPO~1TOM"))
	if at < 0 {
		t.Fatal("the file has no entry")
	}
	binary.LittleEndian.PutUint32(disk[at+size:], math.MaxUint32)
	if err := os.WriteFile(s.Image, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// take has the box look at a stick, pulls it once the lamp says what became of
// it, and gives the result.
func take(t *testing.T, b *lab.Box, name string, s lab.Stick, said flashes) string {
	t.Helper()
	show(t, b, name, s, said)
	return s.Result(t)
}

// show has the box look at a stick, and pulls it once the lamp says what became
// of it.
func show(t *testing.T, b *lab.Box, name string, s lab.Stick, said flashes) {
	t.Helper()
	if err := s.Insert(b, name); err != nil {
		t.Fatal(err)
	}
	awaitLamp(t, b, said)
	if err := b.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestAStickAloneSetsUpTheBox(t *testing.T) {
	s, b := lab.OpenSite(t), lab.Start(t)
	first := lab.StickFor(t, s)
	text := take(t, b, "first", first, done)
	for _, words := range []string{"The box has taken this over.", "525400123456", "sealpost/contoso.pfx", "\r\n"} {
		if !strings.Contains(text, words) {
			t.Errorf("the result does not say %q:\n%s", words, text)
		}
	}
	if strings.Contains(text, s.Password) || strings.Contains(b.KernelLog(), s.Password) {
		t.Error("the password is in the result or in the log")
	}
	b.AwaitBanner(t)
	if err := b.Send("first"); err != nil {
		t.Fatal(err)
	}
	texts, err := s.Postfix.Messages(1)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.KernelLog())
	}
	if !strings.Contains(texts[0], `Client CN "relay.contoso.com"`) {
		t.Errorf("Postfix says of the certificate:\n%s", texts[0])
	}
	if text := take(t, b, "again", first, done); !strings.Contains(text, "taken exactly these files over before") {
		t.Errorf("the same stick once more:\n%s", text)
	}
}

func TestAStickThatIsRefusedChangesNothingAndSaysWhy(t *testing.T) {
	s, b := lab.OpenSite(t), lab.Start(t)
	crowd := map[string]string{}
	for i := range 10_000 {
		crowd[fmt.Sprintf("sealpost/%d.pfx", i)] = "x"
	}
	for name, c := range map[string]struct {
		stick lab.Stick
		words []string
	}{
		"wrong password": {lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": lab.SettingsFor(s), "sealpost/contoso.pfx": string(s.PFX), "sealpost/password.txt": "guess"}),
			[]string{"sealpost/password.txt: this password does not open sealpost/contoso.pfx", "serial console"}},
		"bad TOML":     {lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": "[site\n"}), []string{"sealpost/sealpost.toml: line 1: ", "correct this line"}},
		"10,000 files": {lab.NewStick(t, crowd), []string{"more than 1000 files"}},
		"a large file": {largeStick(t), []string{"sealpost/sealpost.toml: it is larger than 64 KiB"}},
		"another box":  {lab.NewStick(t, map[string]string{"sealpost/525400999999/sealpost.toml": lab.SettingsFor(s)}), []string{"(525400999999)", "525400123456"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := take(t, b, "stick", c.stick, refused)
			for _, words := range append(c.words, "Nothing was changed") {
				if !strings.Contains(text, words) {
					t.Errorf("the result does not say %q:\n%s", words, text)
				}
			}
		})
	}
	t.Run("broken file system", func(t *testing.T) {
		broken := lab.NewStick(t, nil)
		file, err := os.OpenFile(broken.Image, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.Write(make([]byte, 512))
		}
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		show(t, b, "broken", broken, refused)
	})
	if greeting := b.Greeting(); greeting != "" {
		t.Errorf("the box says %q", greeting)
	}
	awaitLamp(t, b, factory)
	b.AwaitWords(t, "format the stick as FAT32")
	if text := take(t, b, "good", partitioned(t, lab.StickFor(t, s)), done); text == "" {
		t.Error("no result")
	}
	b.AwaitBanner(t)
}

func TestAnExFATStickSetsUpTheBoxToo(t *testing.T) {
	s, b := lab.OpenSite(t), lab.Start(t)
	large := exFATStick(t, lab.FilesFor(s))
	show(t, b, "large", large, done)
	content, err := os.ReadFile(large.Image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte("The box has taken this over.")) {
		t.Error("the result is not on the stick")
	}
	b.Relays(t, s, 1)
}

func TestAStickThatCannotBeWrittenToIsTakenAndSaidSo(t *testing.T) {
	s, b := lab.OpenSite(t), lab.Start(t)
	if err := b.InsertProtected("protected", lab.StickFor(t, s).Image); err != nil {
		t.Fatal(err)
	}
	awaitLamp(t, b, done)
	b.AwaitWords(t, "write-protected")
	b.Relays(t, s, 1)
}

func TestAStickPulledInTheMiddleLeavesTheBoxAsItWasOrWholly(t *testing.T) {
	s, b := lab.OpenSite(t), lab.Start(t)
	b.AwaitWords(t, "console on /dev/ttyGS0")
	for i, wait := range []time.Duration{0, 100, 300, 600, 1000, 1500} {
		name := fmt.Sprintf("pulled%d", i)
		if err := lab.StickFor(t, s).Insert(b, name); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitLogTimes(i+1, lab.StickThere); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		if err := b.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	show(t, b, "left", lab.StickFor(t, s), done)
	b.Relays(t, s, 1)
}
