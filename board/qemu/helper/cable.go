package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// laptopEnd is the far end of the USB serial gadget: both ends of its cable are
// in this machine.
const laptopEnd = "/dev/ttyACM0"

// carryCable connects the port "cable" with the far end of the USB cable while
// somebody is there.
func carryCable() {
	device, err := findPort("cable")
	if err != nil {
		return // QEMU was started without anybody to plug it in
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
	const glance = 100 * time.Millisecond
	for ; ; time.Sleep(glance) {
		there := false
		_ = raw.Control(func(fd uintptr) { there = connected(int(fd)) })
		if there {
			talk(port)
		}
	}
}

// talk copies until the cable or the client is gone.
func talk(port *os.File) {
	line, err := os.OpenFile(laptopEnd, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return // the gadget is not bound yet
	}
	defer line.Close()
	raw, err := line.SyscallConn()
	if err != nil {
		return
	}
	// No echo, no line editing, every byte as it is.
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
