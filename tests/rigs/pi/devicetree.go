package pi

import (
	"fmt"
	"os/exec"
)

// tree is a compiled device tree in a file. Its methods do nothing after an error.
type tree struct {
	file string
	err  error
}

func (d *tree) run(program string, arguments ...string) string {
	if d.err != nil {
		return ""
	}
	output, err := exec.Command(program, arguments...).CombinedOutput()
	if err != nil {
		d.err = fmt.Errorf("adapting the device tree: %s %q: %w: %s", program, arguments, err, output)
	}
	return string(output)
}

// text sets a property to texts, cell to a number; create adds a node, remove deletes one.
func (d *tree) text(node, property string, values ...string) {
	d.run("fdtput", append([]string{"-t", "s", d.file, node, property}, values...)...)
}

func (d *tree) cell(node, property string, value uint32) {
	d.run("fdtput", "-t", "u", d.file, node, property, fmt.Sprint(value))
}

func (d *tree) create(node string) { d.run("fdtput", "-c", d.file, node) }

func (d *tree) remove(node string) { d.run("fdtput", "-r", d.file, node) }

func (d *tree) drop(node string, properties ...string) {
	d.run("fdtput", append([]string{"-d", d.file, node}, properties...)...)
}

func (d *tree) disable(nodes ...string) {
	for _, node := range nodes {
		d.text(node, "status", "disabled")
	}
}

// handle returns the phandle of a node.
func (d *tree) handle(node string) (value uint32) {
	text := d.run("fdtget", "-t", "u", d.file, node, "phandle")
	if d.err == nil {
		_, d.err = fmt.Sscan(text, &value)
	}
	return value
}

// adapt changes the board's device tree to what QEMU emulates of it.
func (d *tree) adapt(b Board) error {
	d.text("/", "serial-number", serialNumber) // as the firmware does
	// Writing to the emulated watchdog resets the board at once.
	d.disable("/soc/watchdog@7e100000")
	// The emulated USB controller is a host only.
	d.text("/soc/usb@7e980000", "dr_mode", "host")
	b.adapt(d)
	return d.err
}

// adaptBCM2711 removes what QEMU lacks: parts whose registers the kernel would read in
// vain, and the second card controller. QEMU connects the card to the first one.
func adaptBCM2711(d *tree) {
	d.disable("/soc/interrupt-controller@7ef00100", "/soc/clock@7ef00000", "/soc/hdmi@7ef00700", "/soc/hdmi@7ef05700",
		"/soc/i2c@7ef04500", "/soc/i2c@7ef09500", "/soc/rng@7e104000", "/soc/spi@7e204000",
		"/scb/pcie@7d500000", "/scb/ethernet@7d580000", "/emmc2bus/mmc@7e340000")
	const controller = "/soc/mmc@7e300000"
	d.remove(controller + "/wifi@1")
	d.drop(controller, "mmc-pwrseq", "non-removable")
	d.cell(controller, "pinctrl-0", d.handle("/soc/gpio@7e200000/emmc-gpio48"))
	d.text(controller, "broken-cd", "")
	d.text(controller, "status", "okay")
}

// adaptBCM2837 moves the TPM from SPI to I2C, where QEMU has one. It has no wireless
// network at the second card controller.
func adaptBCM2837(d *tree) {
	d.disable("/soc/mmc@7e300000", "/soc/spi@7e204000")
	const bus, chip = "/soc/i2c@7e804000", "/soc/i2c@7e804000/tpm@2e"
	d.text(bus, "status", "okay")
	d.create(chip)
	d.text(chip, "compatible", "infineon,slb9673", "tcg,tpm-tis-i2c")
	d.cell(chip, "reg", tpmAddress)
}
