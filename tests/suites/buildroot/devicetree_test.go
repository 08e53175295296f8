package buildroot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealpost/tests/rigs/card"
)

// trees are the device trees of a board: the kernel's name, the mode that the kernel
// gives the USB port, and the name that the firmware looks for. The release suite reads
// the modes in the kernel's own.
var trees = map[string][]struct{ kernel, mode, firmware string }{
	"rpi4": {{"bcm2711-rpi-4-b", "peripheral", "bcm2711-rpi-4-b"}},
	"cm4":  {{"bcm2711-rpi-cm4-io", "host", "bcm2711-rpi-cm4"}},
	"rpi3": {{"bcm2837-rpi-3-b", "host", "bcm2710-rpi-3-b"}, {"bcm2837-rpi-3-b-plus", "host", "bcm2710-rpi-3-b-plus"}},
}

// compile compiles a stand-in for a device tree of the kernel.
func compile(t *testing.T, mode string, options ...string) string {
	t.Helper()
	command := exec.Command("dtc", append(options, "-q", "-I", "dts", "-O", "dtb")...)
	command.Stdin = strings.NewReader(strings.Replace(read(t, "testdata", "board.dts"), "MODE", mode, 1))
	output, err := command.Output()
	if err != nil {
		t.Fatalf("compiling a device tree by dtc of the Debian package device-tree-compiler: %v", err)
	}
	return string(output)
}

// deviceTree is a device tree in a slot of a card.
type deviceTree struct {
	t    *testing.T
	path string
}

// slotTree reads a device tree from a slot.
func slotTree(t *testing.T, made *card.Card, slot int, name string) deviceTree {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content(t, made, slot, name+".dtb")), 0o644); err != nil {
		t.Fatal(err)
	}
	return deviceTree{t, path}
}

// get returns the strings or numbers of a property.
func (d deviceTree) get(node, property string) string {
	d.t.Helper()
	output, err := exec.Command("fdtget", d.path, node, property).CombinedOutput()
	if err != nil {
		d.t.Errorf("%s: %v: %s", filepath.Base(d.path), err, output)
	}
	return strings.TrimSpace(string(output))
}

// label returns the path of the node with a label, and its number.
func (d deviceTree) label(label string) (path, number string) {
	d.t.Helper()
	path = d.get("/__symbols__", label)
	return path, d.get(path, "phandle")
}

// eachTree calls check with each device tree in each slot of each board's card.
func eachTree(t *testing.T, check func(name string, d deviceTree)) {
	t.Helper()
	for _, name := range names {
		made := makeCard(t, images(t, name), name)
		for _, slot := range []int{2, 3} {
			for _, tree := range trees[name] {
				check(name, slotTree(t, made, slot, tree.firmware))
			}
		}
	}
}

// makeCard runs post-image.sh.
func makeCard(t *testing.T, images, name string) *card.Card {
	t.Helper()
	if output, err := run("post-image.sh", nil, images, name); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	made, err := card.Open(filepath.Join(images, "sdcard.img"))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestConfigurations_BuildTheDeviceTreesOfTheCard(t *testing.T) {
	for _, name := range names {
		var kernel []string
		for _, tree := range trees[name] {
			kernel = append(kernel, "broadcom/"+tree.kernel)
		}
		lines := settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig"))
		for _, want := range []string{
			fmt.Sprintf("BR2_LINUX_KERNEL_INTREE_DTS_NAME=%q", strings.Join(kernel, " ")),
			"BR2_LINUX_KERNEL_DTB_OVERLAY_SUPPORT=y", "BR2_PACKAGE_HOST_DTC=y",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}

// TestDeviceTree_GivesTheSerialLineToTheProgram checks that the full UART is on the
// header's pins, as the first serial line, and that Bluetooth does not use it.
func TestDeviceTree_GivesTheSerialLineToTheProgram(t *testing.T) {
	eachTree(t, func(name string, d deviceTree) {
		uart, _ := d.label("uart0")
		_, pins := d.label("uart0_gpio14")
		other, _ := d.label("uart1")
		bluetooth, _ := d.label("bt")
		for _, want := range []struct{ node, property, value string }{
			{"/aliases", "serial0", uart}, {uart, "status", "okay"}, {uart, "pinctrl-0", pins},
			{other, "status", "disabled"}, {bluetooth, "status", "disabled"},
		} {
			if got := d.get(want.node, want.property); got != want.value {
				t.Errorf("%s: got %s of %s %q, want %q", name, want.property, want.node, got, want.value)
			}
		}
	})
}

func TestDeviceTree_MatchesBoardTOML(t *testing.T) {
	eachTree(t, func(name string, d deviceTree) {
		board := readBoardConfig(t, name)
		_, gpio := d.label("gpio")
		if label := d.get("/lamp/state", "label"); board.LED != "/sys/class/leds/"+label+"/brightness" {
			t.Errorf("%s: got LED label %s, want the one in %s", name, label, board.LED)
		}
		if pin := d.get("/lamp/state", "gpios"); pin != gpio+" 27 0" {
			t.Errorf("%s: got pin %s of the lamp, want GPIO 27, active high", name, pin)
		}
		if code := d.get("/buttons/reset", "linux,code"); code != fmt.Sprint(board.Key) {
			t.Errorf("%s: got key code %s, want %d", name, code, board.Key)
		}
		if pin := d.get("/buttons/reset", "gpios"); pin != gpio+" 17 1" {
			t.Errorf("%s: got pin %s of the button, want GPIO 17, active low", name, pin)
		}
		usb, _ := d.label("usb")
		if mode := d.get(usb, "dr_mode"); (mode == "host") != (board.UDC == "") {
			t.Errorf("%s: got USB mode %s, which does not match udc %q", name, mode, board.UDC)
		}
	})
}

func TestDeviceTree_HasTheTPMAtTheSecondChipSelect(t *testing.T) {
	eachTree(t, func(name string, d deviceTree) {
		spi, _ := d.label("spi")
		_, gpio := d.label("gpio")
		_, pins := d.label("spi0_gpio7")
		for _, want := range []struct{ node, property, value string }{
			{spi, "status", "okay"}, {spi, "pinctrl-0", pins}, {spi, "cs-gpios", gpio + " 8 1 " + gpio + " 7 1"},
			{spi + "/tpm@1", "reg", "1"}, {spi + "/tpm@1", "compatible", "infineon,slb9670 tcg,tpm_tis-spi"},
		} {
			if got := d.get(want.node, want.property); got != want.value {
				t.Errorf("%s: got %s of %s %q, want %q", name, want.property, want.node, got, want.value)
			}
		}
	})
}

func TestCard_DeviceTreeWithoutSymbolsFailsTheBuild(t *testing.T) {
	dir := images(t, "rpi4")
	put(t, dir, map[string]string{"bcm2711-rpi-4-b.dtb": compile(t, "peripheral")})
	if output, err := run("post-image.sh", nil, dir, "rpi4"); err == nil || !strings.Contains(output, "sealpost.dtbo") {
		t.Errorf("got %v, want an error that names sealpost.dtbo\n%s", err, output)
	}
}

func TestCard_MissingDeviceTreeFailsTheBuild(t *testing.T) {
	dir := images(t, "rpi3")
	if err := os.Remove(filepath.Join(dir, "bcm2837-rpi-3-b-plus.dtb")); err != nil {
		t.Fatal(err)
	}
	if output, err := run("post-image.sh", nil, dir, "rpi3"); err == nil || !strings.Contains(output, "bcm2837-rpi-3-b-plus.dtb") {
		t.Errorf("got %v, want an error that names bcm2837-rpi-3-b-plus.dtb\n%s", err, output)
	}
}
