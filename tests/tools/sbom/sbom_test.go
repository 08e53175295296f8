package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const top = "../../.."

// program builds Sealpost once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sbom")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "sealpost")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/sealpost")
		build.Dir, build.Env, build.Stderr = top, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

func inputs() options {
	return options{program: program, licences: top + "/cmd/sealpost/internal/licenses/licenses.gz", version: "1", date: "2026-11-01T00:00:00Z", source: top}
}

// put writes files below dir.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// placeholders creates the files that board/card makes a card of, in place of what is
// compiled or downloaded.
func placeholders(t *testing.T) options {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"debian/packages":                          "linux-source-6.12 6.12.1-1 linux\nraspi-firmware 1.2+ds-6 raspi-firmware\n",
		"debian/usr/lib/raspi-firmware/start4.elf": "firmware",
		"card/choice/autoboot.txt":                 "choice",
		"card/choice/config.txt":                   "",
		"card/slot/config.txt":                     "kernel=Image",
		"card/slot/start4.elf":                     "firmware",
		"card/slot/board.dtb":                      "device tree",
		"card/slot/Image":                          "kernel",
		"root/init":                                read(t, program),
		"root/dev/null":                            "",
		"root/etc/sealpost/board.toml":             read(t, top+"/board/rpi4/board.toml"),
		"overlays":                                 "sealpost.dtso\notg.dtso\nsealpost.dtso\n",
		"card.img.xz":                              "image",
	})
	o := inputs()
	o.image, o.board, o.debian = dir+"/card.img.xz", "rpi4", dir+"/debian"
	o.partitions, o.root, o.overlays = dir+"/card", dir+"/root", dir+"/overlays"
	return o
}

func TestBOM_IsValidAndReproducible(t *testing.T) {
	for name, o := range map[string]options{"program": inputs(), "card": placeholders(t)} {
		t.Run(name, func(t *testing.T) {
			var first, second bytes.Buffer
			if err := write(&first, o); err != nil {
				t.Fatal(err)
			}
			if err := write(&second, o); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Errorf("the second bill of materials differs: %v", err)
			}
			file := filepath.Join(t.TempDir(), "bom.json")
			if err := os.WriteFile(file, first.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			if output, err := exec.Command("go", "run", "./validate", file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

func TestValidate_RejectsAnUnknownLicence(t *testing.T) {
	var b bytes.Buffer
	if err := write(&b, inputs()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bom.json")
	if err := os.WriteFile(file, bytes.ReplaceAll(b.Bytes(), []byte(`"MIT"`), []byte(`"MITT"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("go", "run", "./validate", file).CombinedOutput(); err == nil || !strings.Contains(string(output), "license/id") {
		t.Errorf("got %v, want an error that names license/id\n%s", err, output)
	}
}

func TestCard_SaysWhereEachFileIsAndWhatItIsMadeOf(t *testing.T) {
	var b bytes.Buffer
	if err := write(&b, placeholders(t)); err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Components []struct {
			Ref, Name string
			BOMRef    string `json:"bom-ref"`
			Evidence  struct{ Occurrences []struct{ Location string } }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(b.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	got := map[string]string{}
	for _, c := range bom.Components {
		names[c.BOMRef] = c.Name
		for _, o := range c.Evidence.Occurrences {
			got[o.Location] = c.BOMRef
		}
	}
	on := map[string]string{}
	for _, d := range bom.Dependencies {
		var all []string
		for _, ref := range d.DependsOn {
			all = append(all, names[ref])
		}
		on[d.Ref] = strings.Join(all, " ")
	}
	for at, want := range map[string]string{
		"partition1/autoboot.txt": "", "partition1/config.txt": "", "partition2/config.txt": "",
		"partition3/start4.elf": "raspi-firmware", "partition2/board.dtb": "linux sealpost.dtso otg.dtso",
		"partition3/Image": "linux dev/null etc/sealpost/board.toml sealpost", "initramfs/dev/null": "",
	} {
		ref, ok := got[at]
		if !ok || on[ref] != want {
			t.Errorf("%s: got %q, want %q", at, on[ref], want)
		}
	}
	if got["partition1/config.txt"] == got["partition2/config.txt"] {
		t.Error("two files with one name and different content are one component")
	}
}

func TestCard_RejectsWhatItDoesNotKnow(t *testing.T) {
	for file, want := range map[string]string{
		"card/slot/kernel8.img":        "the origin of kernel8.img is not known",
		"card/slot/start4.elf":         "start4.elf differs from",
		"root/bin/sh":                  "the origin of initramfs/bin/sh is not known",
		"root/init":                    "init differs from",
		"root/etc/sealpost/board.toml": "board.toml differs from",
		"debian/packages":              "the packages lack the kernel or the firmware",
		"overlays":                     "no such file",
	} {
		t.Run(file, func(t *testing.T) {
			o := placeholders(t)
			content := "changed"
			if file == "debian/packages" {
				content = "raspi-firmware 1.2+ds-6 raspi-firmware\n"
			}
			put(t, filepath.Dir(o.image), map[string]string{file: content})
			if err := write(&bytes.Buffer{}, o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestLicences_AreKnownOrFail(t *testing.T) {
	l, err := readLicences(inputs().licences)
	if err != nil {
		t.Fatal(err)
	}
	l.texts["module v1"] = "You may do with this what you like on Tuesdays."
	for name, want := range map[string]string{"module v1": "is not one that is known", "other v1": "run make licenses"} {
		if _, err := l.of(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
