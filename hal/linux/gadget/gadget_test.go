package gadget

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStart_ConfiguresTheSerialGadgetBeforeBinding(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // a second start finds everything there
		if err := start(dir, "fe980000.usb", "100000001234"); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"idVendor": vendor, "strings/0x409/serialnumber": "100000001234", "UDC": "fe980000.usb",
	} {
		if text, err := os.ReadFile(filepath.Join(dir, "sealpost", name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v, expected %q", name, text, err, want)
		}
	}
	target, err := os.Readlink(filepath.Join(dir, "sealpost/configs/c.1/acm.usb0"))
	if err != nil || target != filepath.Join(dir, "sealpost/functions/acm.usb0") {
		t.Errorf("the function is linked to %q, %v", target, err)
	}
}

func TestStart_FailsWithoutConfigfs(t *testing.T) {
	if err := start("/proc/nowhere", "fe980000.usb", "1"); err == nil {
		t.Error("the line was made of nothing")
	}
}
