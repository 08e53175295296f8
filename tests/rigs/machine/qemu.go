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

// arguments returns the QEMU arguments for the devices in board/qemu/board.toml.
func (m *Machine) arguments() []string {
	arguments := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", fmt.Sprint(m.config.Memory),
		"-kernel", m.config.Image + "/vmlinuz", "-initrd", m.config.Image + "/initramfs",
		// A console that does not exist keeps the kernel off the serial line.
		// An emulated processor does not speculate, and every mitigation would be
		// emulated too: with KPTI, for example, a system call flushes the TLB.
		"-append", "console=hvc0 loglevel=7 panic=5 kpti=off mitigations=off " + m.config.Kernel,
		"-qmp", "unix:" + m.path("control") + ",server=on,wait=off",
		"-chardev", "socket,id=console,server=on,wait=off,path=" + m.path("console"), "-serial", "chardev:console",
		// virtio over PCI: the queues of a memory-mapped device are longer, and the
		// guest would allocate 4 MB of buffers for each serial port.
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
		// Without reconnect, QEMU would not use the TPM again after its first stop.
		arguments = append(arguments, "-chardev", "socket,id=tpm,reconnect=1,path="+strings.TrimPrefix(m.config.TPM.Address(), "unix:"),
			"-device", "virtserialport,name=tpm,chardev=tpm")
	}
	return append(append(arguments, m.disk()...), m.network()...)
}

// disk returns the state device. It reports errors to the box, as a card does; by
// default QEMU would stop the box.
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
	backend := "user,id=lan,restrict=on"
	switch {
	case m.config.Network.Tap != "":
		backend = "tap,id=lan,script=no,downscript=no,ifname=" + m.config.Network.Tap
	case m.config.Network.Socket != "":
		backend = "stream,id=lan,server=off,addr.type=unix,addr.path=" + m.config.Network.Socket
	case m.config.Network.Outside:
		backend = "user,id=lan"
	}
	for port, host := range m.config.Network.Forward {
		backend += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, port)
	}
	return []string{"-netdev", backend, "-device", "virtio-net-pci,romfile=,id=nic,netdev=lan,mac=" + m.config.MAC}
}
