package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// laptopEnd is the host side of the USB serial gadget. Both ends of its cable are in
// this machine.
const laptopEnd = "/dev/ttyACM0"

// bridgeCable connects the virtio port "cable" to the host side of the USB cable while
// a client is connected.
func bridgeCable() {
	device, err := findPort("cable")
	if err != nil {
		return // QEMU has no such port
	}
	port, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer port.Close()
	raw, err := port.SyscallConn()
	if err != nil {
		return
	}
	const pollInterval = 100 * time.Millisecond
	for ; ; time.Sleep(pollInterval) {
		clientConnected := false
		_ = raw.Control(func(fd uintptr) { clientConnected = connected(int(fd)) })
		if clientConnected {
			copyCable(port)
		}
	}
}

// copyCable copies both ways until the cable or the client is disconnected.
func copyCable(port *os.File) {
	line, err := os.OpenFile(laptopEnd, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return // the gadget is not bound yet
	}
	defer line.Close()
	raw, err := line.SyscallConn()
	if err != nil {
		return
	}
	// Raw mode: no echo and no line editing.
	_ = raw.Control(func(fd uintptr) {
		err = unix.IoctlSetTermios(int(fd), unix.TCSETS, &unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200,
			Cc: [19]uint8{unix.VMIN: 1}})
	})
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(port, line)
	}()
	_, _ = io.Copy(line, port)
}
