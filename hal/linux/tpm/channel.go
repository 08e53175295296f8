package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	responseHeader = 10   // tag, size and response code (TPM 2.0 Part 1, 16.2)
	maxResponse    = 4096 // TPM2_PT_MAX_RESPONSE_SIZE of every known chip, and the kernel's buffer
)

// errInvalidResponse is the error of an invalid TPM response.
var errInvalidResponse = errors.New("this is not a TPM response")

// channel carries one command at a time to a TPM.
type channel interface {
	// exchange sends a command and returns its response, or fails with
	// os.ErrDeadlineExceeded.
	exchange(command []byte, deadline time.Time) ([]byte, error)
	// managed reports whether a resource manager keeps clients apart.
	managed() bool
	close()
}

func (a address) open(deadline time.Time) (channel, error) {
	if a.network == "device" {
		return openDevice(a.target)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, a.network, a.target)
	if err != nil {
		return nil, err
	}
	return &socket{conn}, nil
}

// socket reaches a software TPM, which has no resource manager and serves one
// client at a time.
type socket struct{ conn net.Conn }

func (s *socket) exchange(command []byte, deadline time.Time) ([]byte, error) {
	if err := s.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, responseHeader, maxResponse)
	if _, err := io.ReadFull(s.conn, response); err != nil {
		return nil, err
	}
	size, err := responseSize(response)
	if err != nil {
		return nil, err
	}
	response = response[:size]
	_, err = io.ReadFull(s.conn, response[responseHeader:])
	return response, err
}

func (s *socket) managed() bool { return false }
func (s *socket) close()        { _ = s.conn.Close() }

// responseSize reads and validates the size field of a response.
func responseSize(header []byte) (int, error) {
	if len(header) < responseHeader {
		return 0, fmt.Errorf("%w: %d bytes", errInvalidResponse, len(header))
	}
	size := binary.BigEndian.Uint32(header[2:6])
	if size < responseHeader || size > maxResponse {
		return 0, fmt.Errorf("%w: it announces %d bytes", errInvalidResponse, size)
	}
	return int(size), nil
}

// device is a kernel TPM device such as /dev/tpmrm0. In non-blocking mode the
// kernel accepts the command at once, and poll(2) reports its response, so that a
// deadline is possible.
type device struct {
	fd   int
	path string
}

// memoryDevices is the major number of /dev/null, /dev/zero and others like
// them (Linux, devices.txt). They accept commands, so a missing response would
// look like a restarted TPM.
const memoryDevices = 1

func openDevice(path string) (channel, error) {
	var info unix.Stat_t
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == nil {
		err = unix.Fstat(fd, &info)
	}
	if err == nil && info.Mode&unix.S_IFMT != unix.S_IFCHR {
		// Commands must not be written into a regular file.
		_ = unix.Close(fd)
		err = errors.New("it is not a character device")
	}
	if err == nil && unix.Major(uint64(info.Rdev)) == memoryDevices {
		_ = unix.Close(fd)
		err = errNotTPM
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &device{fd: fd, path: path}, nil
}

func (d *device) exchange(command []byte, deadline time.Time) ([]byte, error) {
	n, err := unix.Write(d.fd, command)
	if err == nil && n < len(command) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return nil, &os.PathError{Op: "write", Path: d.path, Err: err}
	}
	response := make([]byte, maxResponse)
	for have, size := 0, responseHeader; ; {
		if err := d.await(deadline); err != nil {
			return nil, &os.PathError{Op: "poll", Path: d.path, Err: err}
		}
		n, err := unix.Read(d.fd, response[have:])
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: d.path, Err: err}
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		have += n
		if have >= responseHeader {
			if size, err = responseSize(response); err != nil {
				return nil, err
			}
		}
		if have > size {
			return nil, fmt.Errorf("%w: %d bytes instead of %d", errInvalidResponse, have, size)
		}
		if have == size && have >= responseHeader {
			return response[:have], nil
		}
	}
}

func (d *device) await(deadline time.Time) error {
	ready := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll(ready, int(left))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

func (d *device) managed() bool { return true }

// close does not wait: the kernel holds close(2) until a command under way
// has ended, by its own time limit of some minutes.
func (d *device) close() { go func() { _ = unix.Close(d.fd) }() }
