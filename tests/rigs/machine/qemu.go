package machine

import (
	"fmt"
	"strings"
)

const qemu = "qemu-system-aarch64"

// Files in the machine's folder.
const (
	kernelLog = "log"  // the kernel's
	lampLog   = "lamp" // a line for each change of the lamp
)

// arguments wire the board as board/qemu/board.toml says.
func (m *Machine) arguments() []string {
	arguments := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", fmt.Sprint(m.config.Memory),
		"-kernel", m.config.Image + "/vmlinuz", "-initrd", m.config.Image + "/initramfs",
		// A console that is not there keeps the kernel off the technician's line.
		// Meltdown does not reach this processor; only to hide where it lies the
		// kernel would have every call flush the emulated TLB.
		"-append", "console=hvc0 loglevel=7 panic=5 kpti=off " + m.config.Kernel,
		"-qmp", "unix:" + m.path("control") + ",server=on,wait=off",
		"-chardev", "socket,id=console,server=on,wait=off,path=" + m.path("console"), "-serial", "chardev:console",
		// Over PCI, as the queues of memory-mapped devices are so long that the
		// guest's buffers for each serial port take 4 MB.
		"-device", "virtio-serial-pci,max_ports=8",
		"-device", "qemu-xhci", "-device", "usb-kbd",
		"-device", "i6300esb", "-action", "watchdog=reset",
	}
	arguments = append(arguments, "-chardev", "socket,id=cable,server=on,wait=off,path="+m.path("cable"),
		"-device", "virtserialport,name=cable,chardev=cable")
	for _, log := range []string{kernelLog, lampLog} {
		arguments = append(arguments, "-chardev", "file,append=on,id="+log+",path="+m.path(log),
			"-device", "virtserialport,name="+log+",chardev="+log)
	}
	arguments = append(arguments, "-chardev", "socket,id=faults,server=on,wait=off,path="+m.path("faults"),
		"-device", "virtserialport,name=faults,chardev=faults")
	if m.config.RTC != "" {
		arguments = append(arguments, "-rtc", "base="+m.config.RTC)
	}
	if m.config.TPM != nil {
		// Without reconnect QEMU would do without the TPM from its first end on.
		arguments = append(arguments, "-chardev", "socket,id=tpm,reconnect=1,path="+strings.TrimPrefix(m.config.TPM.Address(), "unix:"),
			"-device", "virtserialport,name=tpm,chardev=tpm")
	}
	return append(append(arguments, m.disk()...), m.network()...)
}

// disk is the state device. The box hears of errors, as from a card; QEMU would
// rather stop it.
func (m *Machine) disk() []string {
	file := m.config.StateFile
	if m.config.Flash != nil {
		file = "nbd+unix:///?socket=" + m.config.Flash.Address()
	}
	if file == "" {
		return nil
	}
	return []string{"-drive", "if=none,id=state,format=raw,werror=report,rerror=report,file=" + file,
		"-device", "virtio-blk-pci,drive=state"}
}

func (m *Machine) network() []string {
	back := "user,id=lan,restrict=on"
	switch {
	case m.config.Network.Tap != "":
		back = "tap,id=lan,script=no,downscript=no,ifname=" + m.config.Network.Tap
	case m.config.Network.Socket != "":
		back = "stream,id=lan,server=off,addr.type=unix,addr.path=" + m.config.Network.Socket
	case m.config.Network.Outside:
		back = "user,id=lan"
	}
	for port, host := range m.config.Network.Forward {
		back += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, port)
	}
	return []string{"-netdev", back, "-device", "virtio-net-pci,romfile=,id=nic,netdev=lan,mac=" + m.config.MAC}
}
