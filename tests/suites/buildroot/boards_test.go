// Package buildroot holds what can be promised of the card's image without
// building it: that a board's files agree with each other, and that the scripts
// which Buildroot calls do what they say. It knows nothing of the kernel's and
// Buildroot's own symbols, which only they can tell.
package buildroot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// tree is the folder of the BR2_EXTERNAL tree, and boards that of the boards.
const (
	tree   = "../../../buildroot"
	boards = "../../../board"
)

// names are the boards that a card's image can be built for.
var names = []string{"cm4", "rpi4", "rpi3"}

// facts are what a board.toml says that other files say, too.
type facts struct {
	State, LED, UDC string
	Lines           []string
	Key             int
}

func factsOf(t *testing.T, name string) facts {
	t.Helper()
	var f facts
	if err := toml.Unmarshal([]byte(read(t, boards, name, "board.toml")), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings are the lines of a config.txt or a defconfig.
func settings(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "# ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestConfigurations_AreTheBoards(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(tree, "configs", "*"))
	if err != nil || len(found) != len(names) {
		t.Fatalf("configurations: %v %v", found, err)
	}
	for _, name := range names {
		lines := settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig"))
		for _, want := range []string{
			fmt.Sprintf("BR2_ROOTFS_POST_SCRIPT_ARGS=%q", name),
			fmt.Sprintf("BR2_PACKAGE_RPI_FIRMWARE_CONFIG_FILE=%q", "$(BR2_EXTERNAL_SEALPOST_PATH)/../board/"+name+"/config.txt"),
			fmt.Sprintf("BR2_PACKAGE_RPI_FIRMWARE_CMDLINE_FILE=%q", "$(BR2_EXTERNAL_SEALPOST_PATH)/../board/"+name+"/cmdline.txt"),
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}

func TestConfigurations_NameFilesThatExist(t *testing.T) {
	named := regexp.MustCompile(`\$\(BR2_EXTERNAL_SEALPOST_PATH\)/([^ "]+)`)
	for _, name := range names {
		matches := named.FindAllStringSubmatch(read(t, tree, "configs", "sealpost_"+name+"_defconfig"), -1)
		if len(matches) < 8 {
			t.Errorf("%s names %d files", name, len(matches))
		}
		for _, match := range matches {
			if _, err := os.Stat(filepath.Join(tree, match[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestFirmware_StartsTheKernelThatIsBuilt(t *testing.T) {
	for _, name := range names {
		want := []string{"arm_64bit=0", "kernel=zImage"}
		if slices.Contains(settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig")), "BR2_aarch64=y") {
			want = []string{"arm_64bit=1", "kernel=Image"}
		}
		lines := settings(read(t, boards, name, "config.txt"))
		for _, line := range append(want, "auto_initramfs=0") {
			if !slices.Contains(lines, line) {
				t.Errorf("%s lacks %s", name, line)
			}
		}
	}
}

// Nothing but the program speaks on the technician's line: no console of the
// kernel, which takes the line that the device tree names if it can, and no modem.
func TestSerialLine_IsTheTechniciansAlone(t *testing.T) {
	fragment := read(t, tree, "fragments", "raspberrypi.config")
	for _, want := range []string{"CONFIG_SERIAL_AMBA_PL011=y\n", "# CONFIG_SERIAL_AMBA_PL011_CONSOLE is not set\n", "# CONFIG_SERIAL_8250 is not set\n"} {
		if !strings.Contains(fragment, want) {
			t.Errorf("the kernel lacks %s", want)
		}
	}
	for _, name := range names {
		if lines := factsOf(t, name).Lines; !slices.Equal(lines, []string{"/dev/ttyAMA0"}) {
			t.Errorf("%s has its lines at %v", name, lines)
		}
		config := settings(read(t, boards, name, "config.txt"))
		if !slices.Contains(config, "enable_uart=1") || !slices.Contains(config, "dtoverlay=disable-bt") {
			t.Errorf("%s leaves the UART to Bluetooth", name)
		}
		command := read(t, boards, name, "cmdline.txt")
		if regexp.MustCompile(`console|earlycon|tty|kgdb`).MatchString(command) {
			t.Errorf("%s has a console: %s", name, command)
		}
		if strings.Count(command, "\n") != 1 {
			t.Errorf("%s: the firmware reads one line of %q", name, command)
		}
	}
}

func TestDevices_AreWhereTheFactsSay(t *testing.T) {
	port := regexp.MustCompile(`dtoverlay=dwc2,dr_mode=(otg|peripheral|host)\n`)
	lamp := regexp.MustCompile(`dtoverlay=gpio-led,gpio=27,label=(\w+)\n`)
	button := regexp.MustCompile(`dtoverlay=gpio-key,gpio=17,keycode=(\d+),`)
	for _, name := range names {
		f, config := factsOf(t, name), read(t, boards, name, "config.txt")
		for _, part := range []*regexp.Regexp{port, lamp, button} {
			if len(part.FindAllString(config, -1)) != 1 {
				t.Fatalf("%s has not one %v", name, part)
			}
		}
		if label := lamp.FindStringSubmatch(config)[1]; f.LED != "/sys/class/leds/"+label+"/brightness" {
			t.Errorf("%s: the lamp %s is not at %s", name, label, f.LED)
		}
		if code := button.FindStringSubmatch(config)[1]; code != fmt.Sprint(f.Key) {
			t.Errorf("%s: the button sends %s and is awaited as %d", name, code, f.Key)
		}
		if mode := port.FindStringSubmatch(config)[1]; (mode == "host") != (f.UDC == "") {
			t.Errorf("%s: a port in mode %s and udc %q", name, mode, f.UDC)
		}
	}
}

func TestBoards_EnableTheirTPM(t *testing.T) {
	for _, name := range names {
		lines := settings(read(t, boards, name, "config.txt"))
		if !slices.Contains(lines, "dtparam=spi=on") || !slices.Contains(lines, "dtoverlay=tpm-slb9670") {
			t.Errorf("%s starts without its TPM: %v", name, lines)
		}
	}
}

func TestScripts_PassShellcheck(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(tree, "*.sh"))
	if err != nil || len(scripts) != 3 {
		t.Fatalf("scripts: %v %v", scripts, err)
	}
	scripts = append(scripts, filepath.Join(tree, "check-fragments"), filepath.Join(boards, "qemu", "image"))
	for _, script := range scripts {
		if output, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, output)
		}
	}
	if output, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
