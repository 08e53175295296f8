// Package buildroot tests the card's image without building it: that a board's files
// agree with each other, and that the scripts which Buildroot calls work. It cannot
// check the symbols of the kernel and of Buildroot; only a build can.
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

	"sealpost/tests/rigs/pi"
)

// tree is the BR2_EXTERNAL tree; boards is the folder of the boards.
const (
	tree   = "../../../buildroot"
	boards = "../../../board"
)

// names are the boards with a card image.
var names = []string{"cm4", "rpi4", "rpi3"}

// boardConfig holds the keys of a board.toml that other files repeat.
type boardConfig struct {
	Partition, LED, UDC string
	Lines               []string
	Key                 int
}

func readBoardConfig(t *testing.T, name string) boardConfig {
	t.Helper()
	var c boardConfig
	if err := toml.Unmarshal([]byte(read(t, boards, name, "board.toml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings returns the lines of a config.txt or a defconfig without comments.
func settings(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "# ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// setting returns the value of a symbol in the configuration of a board, with Buildroot's
// variable replaced.
func setting(t *testing.T, name, symbol string) string {
	t.Helper()
	for _, line := range settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig")) {
		if value, found := strings.CutPrefix(line, symbol+"="); found {
			return strings.ReplaceAll(strings.Trim(value, `"`), "$(BR2_EXTERNAL_SEALPOST_PATH)", tree)
		}
	}
	t.Fatalf("the configuration of %s has no %s", name, symbol)
	return ""
}

func TestConfigurations_MatchTheBoards(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(tree, "configs", "*"))
	if err != nil || len(found) != len(names) {
		t.Fatalf("got configurations %v, %v, want one for each of %v", found, err, names)
	}
	for _, name := range names {
		// make card-test would run nothing.
		if _, ok := pi.Boards[name]; !ok {
			t.Errorf("the rig pi has no board %s", name)
		}
		lines := settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig"))
		for _, want := range []string{
			fmt.Sprintf("BR2_ROOTFS_POST_SCRIPT_ARGS=%q", name),
			fmt.Sprintf("BR2_PACKAGE_RPI_FIRMWARE_CONFIG_FILE=%q", "$(BR2_EXTERNAL_SEALPOST_PATH)/../board/"+name+"/config.txt"),
			fmt.Sprintf("BR2_PACKAGE_RPI_FIRMWARE_CMDLINE_FILE=%q", "$(BR2_EXTERNAL_SEALPOST_PATH)/../board/"+name+"/cmdline.txt"),
			// Otherwise Buildroot adds /dev/console after post-fakeroot.sh.
			"BR2_ROOTFS_DEVICE_CREATION_STATIC=y", `BR2_ROOTFS_STATIC_DEVICE_TABLE=""`,
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
			t.Errorf("%s: got %d files, want at least 8", name, len(matches))
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
		if !slices.Contains(settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig")), "BR2_aarch64=y") {
			t.Errorf("%s: the kernel is not a 64-bit one", name)
		}
		lines := settings(read(t, boards, name, "config.txt"))
		for _, line := range []string{"arm_64bit=1", "kernel=Image", "auto_initramfs=0"} {
			if !slices.Contains(lines, line) {
				t.Errorf("%s lacks %s", name, line)
			}
		}
	}
}

// TestSerialLine_IsUsedOnlyByTheProgram checks that no kernel console uses the UART.
func TestSerialLine_IsUsedOnlyByTheProgram(t *testing.T) {
	fragment := read(t, tree, "fragments", "raspberrypi.config")
	for _, want := range []string{"CONFIG_SERIAL_AMBA_PL011=y\n", "# CONFIG_SERIAL_AMBA_PL011_CONSOLE is not set\n", "# CONFIG_SERIAL_8250 is not set\n"} {
		if !strings.Contains(fragment, want) {
			t.Errorf("raspberrypi.config lacks %s", want)
		}
	}
	for _, name := range names {
		if lines := readBoardConfig(t, name).Lines; !slices.Equal(lines, []string{"/dev/ttyAMA0"}) {
			t.Errorf("%s: got lines %v, want /dev/ttyAMA0", name, lines)
		}
		config := settings(read(t, boards, name, "config.txt"))
		if !slices.Contains(config, "enable_uart=1") {
			t.Errorf("%s: config.txt does not enable the UART", name)
		}
		command := read(t, boards, name, "cmdline.txt")
		if regexp.MustCompile(`console|earlycon|tty|kgdb`).MatchString(command) {
			t.Errorf("%s: the kernel command line has a console: %s", name, command)
		}
		if strings.Count(command, "\n") != 1 {
			t.Errorf("%s: got command line %q, want one line: the firmware reads no more", name, command)
		}
	}
}

// TestFirmware_AppliesNoOverlay checks that config.txt names nothing of the device tree:
// the card has no overlays, and the kernel's trees have no parameters.
func TestFirmware_AppliesNoOverlay(t *testing.T) {
	for _, name := range names {
		for _, line := range settings(read(t, boards, name, "config.txt")) {
			if strings.HasPrefix(line, "dt") || strings.HasPrefix(line, "device_tree") {
				t.Errorf("%s: config.txt has %s", name, line)
			}
		}
	}
}

func TestScripts_PassShellcheck(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(tree, "*.sh"))
	if err != nil || len(scripts) != 3 {
		t.Fatalf("got scripts %v, %v, want 3", scripts, err)
	}
	scripts = append(scripts, filepath.Join(tree, "check-fragments"), filepath.Join(boards, "qemu", "image"), filepath.Join(boards, "card"), filepath.Join(boards, "download"))
	for _, script := range scripts {
		if output, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, output)
		}
	}
	if output, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
