package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/hal/linux/process"
	"sealpost/hal/linux/usb"
)

// stickPatience bounds everything that is done with a stick.
const stickPatience = 2 * time.Minute

// startSticks takes each stick that is in or comes in, one at a time.
func (m *machine) startSticks(ctx context.Context) {
	go usb.Watch(ctx, func(in context.Context, s usb.Stick) {
		m.stick.Lock()
		defer m.stick.Unlock()
		if in.Err() == nil {
			m.takeStick(ctx, s)
		}
	})
}

// takeStick has a child look at a stick, and puts into force what it committed.
// A child that hangs in the kernel is left behind.
func (m *machine) takeStick(ctx context.Context, s usb.Stick) {
	ctx, cancel := context.WithTimeout(ctx, stickPatience)
	defer cancel()
	child, err := m.startStick(ctx, s)
	if err != nil {
		m.try("stick", err)
		return
	}
	defer child.Close()
	var v stickVerdict
	if err := child.Decode(&v); err != nil {
		v.Faults = []string{fmt.Sprintf("the stick gave no answer in time or was pulled too early: put it in again, or take another one (%v)", err)}
	}
	if v.Applied {
		m.try("settings", m.applied(ctx))
	}
	m.journal.Stick(v.String())
	var written resultWritten
	if err := child.Decode(&written); err == nil && written.Trouble != "" {
		m.try("stick", errors.New(written.Trouble))
	}
}

// stickChild is a process that says JSON.
type stickChild struct {
	*json.Decoder
	io.Closer
}

// startStick starts a child in a mount namespace of its own. What it says can be
// waited for until ctx ends.
func (m *machine) startStick(ctx context.Context, s usb.Stick) (stickChild, error) {
	says, end, err := os.Pipe()
	if err != nil {
		return stickChild{}, err
	}
	if deadline, some := ctx.Deadline(); some {
		err = says.SetReadDeadline(deadline)
	}
	if err != nil {
		return stickChild{}, errors.Join(err, says.Close(), end.Close())
	}
	command := exec.CommandContext(ctx, program, append([]string{"stick", "--json", "--disk", s.Name, "--serial", m.serial}, m.boardFlags()...)...)
	command.Stdout = end
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS}
	go func() {
		if err := process.Run(command); err != nil {
			m.try("stick", err)
		}
		_ = end.Close()
	}()
	const most = 1 << 20
	return stickChild{json.NewDecoder(io.LimitReader(says, most)), says}, nil
}
