package main

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/vtpm_proxy.h.
const (
	newDevice     = 0xc014a100 // VTPM_PROXY_IOC_NEW_DEV
	flagTPM2      = 1          // VTPM_PROXY_FLAG_TPM2
	setLocality   = 0x20001000 // TPM2_CC_SET_LOCALITY, from the driver to its proxy
	bufferSize    = 4096       // TPM_BUFSIZE
	headerSize    = 10         // of a command or a response, TPM 2.0 part 1, section 18
	tagNoSessions = 0x8001     // TPM_ST_NO_SESSIONS
	success       = 0          // TPM_RC_SUCCESS
	failure       = 0x101      // TPM_RC_FAILURE
)

// connectLimit limits the wait until QEMU, which tries every second, has connected to
// the software TPM.
const connectLimit = 10 * time.Second

// proxyDevice is struct vtpm_proxy_new_dev.
type proxyDevice struct{ flags, number, fd, major, minor uint32 }

// bridgeTPM creates the TPM device, and forwards commands to the virtio port "tpm" and
// responses back. It returns only with an error.
func bridgeTPM() error {
	device, err := findPort("tpm")
	if err != nil {
		return err
	}
	port, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("opening the TPM's port", err)
	}
	// The driver sends its first commands while the device is created.
	for deadline := time.Now().Add(connectLimit); !connected(port); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the software TPM is not connected to QEMU")
		}
	}
	proxy, err := createDevice()
	if err != nil {
		return err
	}
	buffer := make([]byte, bufferSize)
	for {
		n, err := unix.Read(proxy, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("reading a command from the kernel", err)
		}
		if _, err := unix.Write(proxy, execute(port, buffer[:n])); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("writing a response to the kernel", err)
		}
	}
}

func createDevice() (int, error) {
	control, err := unix.Open("/dev/vtpmx", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("opening /dev/vtpmx", err)
	}
	defer unix.Close(control)
	device := proxyDevice{flags: flagTPM2}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(control), newDevice, uintptr(unsafe.Pointer(&device))); errno != 0 {
		return 0, os.NewSyscallError("creating the TPM device", errno)
	}
	return int(device.fd), nil
}

// execute returns the software TPM's response to a command, or TPM_RC_FAILURE if it is
// not connected.
func execute(port int, command []byte) []byte {
	if len(command) >= headerSize && binary.BigEndian.Uint32(command[6:]) == setLocality {
		return headerOnly(success)
	}
	if !connected(port) {
		return headerOnly(failure)
	}
	if _, err := unix.Write(port, command); err != nil {
		return headerOnly(failure)
	}
	response := make([]byte, bufferSize)
	if !readFull(port, response[:headerSize]) {
		return headerOnly(failure)
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < headerSize || size > bufferSize || !readFull(port, response[headerSize:size]) {
		return headerOnly(failure)
	}
	return response[:size]
}

// headerOnly returns a response without parameters.
func headerOnly(code uint32) []byte {
	response := binary.BigEndian.AppendUint16(nil, tagNoSessions)
	response = binary.BigEndian.AppendUint32(response, headerSize)
	return binary.BigEndian.AppendUint32(response, code)
}

// connected reports whether the other end of the port is connected.
func connected(port int) bool {
	fds := []unix.PollFd{{Fd: int32(port), Events: unix.POLLOUT}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP == 0
}

// readFull reads until p is full. It returns false if the other end disconnects.
func readFull(port int, p []byte) bool {
	for len(p) > 0 {
		n, err := unix.Read(port, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		p = p[n:]
	}
	return true
}
