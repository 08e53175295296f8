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

	"sealpost/hal/linux/led"
	"sealpost/hal/linux/process"
	"sealpost/hal/linux/usb"
	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
)

// stickPatience bounds everything that is done with a stick.
const stickPatience = 2 * time.Minute

// doneShown is how long the lamp tells of a stick that is done with.
const doneShown = time.Minute

// startSticks takes each stick that is in or comes in, one at a time.
func (m *machine) startSticks(ctx context.Context) {
	go usb.Watch(ctx, func(in context.Context, s usb.Stick) {
		m.stick.Lock()
		defer m.stick.Unlock()
		if in.Err() != nil {
			return
		}
		m.lampStick(led.StickWorking)
		said := led.StickRefused
		if v := m.takeStick(ctx, s); len(v.Faults) == 0 {
			said = led.StickDone
			// A stick that stays in does not hide for ever how mail is.
			var cancel context.CancelFunc
			in, cancel = context.WithTimeout(in, doneShown)
			defer cancel()
		}
		m.lampStick(said)
		<-in.Done()
		m.lampStick(nil)
	})
}

// lampStick has the lamp tell of the stick; nil is the end of it.
func (m *machine) lampStick(p *led.Pattern) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lamp.Stick = p
}

// takeStick has a child look at a stick, and puts into force what it committed.
// A child that hangs in the kernel is left behind.
func (m *machine) takeStick(ctx context.Context, s usb.Stick) bundle.Verdict {
	before := m.lastBundle(ctx)
	ctx, cancel := context.WithTimeout(ctx, stickPatience)
	defer cancel()
	child, err := m.startStick(ctx, s)
	if err != nil {
		m.try("stick", err)
		return bundle.Refused(err)
	}
	defer child.close()
	v := m.verdict(ctx, child.Decoder, before)
	if v.Applied {
		// The stick may have used up its time: what it brought is stored.
		m.try("settings", m.confirmed.Applied(context.WithoutCancel(ctx)))
	}
	m.journal.Stick(v.String())
	var written resultWritten
	if err := child.Decode(&written); err == nil && written.Trouble != "" {
		m.try("stick", errors.New(written.Trouble))
	}
	_ = child.await()
	return v
}

// verdict is what a child says became of its stick. One that was ended between
// its commit and its word has changed the box all the same.
func (m *machine) verdict(ctx context.Context, child *json.Decoder, before string) (v bundle.Verdict) {
	err := child.Decode(&v)
	switch {
	case err == nil:
		return v
	case m.lastBundle(context.WithoutCancel(ctx)) != before:
		return bundle.Verdict{Applied: true, Files: []string{bundle.Folder}}
	}
	return bundle.Verdict{Faults: []string{fmt.Sprintf("the stick gave no answer in time or was pulled too early: put it in again, or take another one (%v)", err)}}
}

// lastBundle names the bundle that was committed last; a state that cannot be
// read has none.
func (m *machine) lastBundle(ctx context.Context) string {
	if m.store == nil {
		return ""
	}
	origin, err := candidate.LastOrigin(ctx, m.store)
	m.try("stick", err)
	return origin
}

// stickChild is a process that says JSON.
type stickChild struct {
	*json.Decoder
	says *os.File
}

// await waits until the child has ended, or until nothing is waited for.
func (c stickChild) await() error {
	_, err := io.Copy(io.Discard, c.says)
	return err
}

func (c stickChild) close() { _ = c.says.Close() }

// startStick starts a child in a mount namespace of its own. What it says can be
// waited for until ctx ends.
func (m *machine) startStick(ctx context.Context, s usb.Stick) (stickChild, error) {
	says, end, err := os.Pipe()
	if err != nil {
		return stickChild{}, err
	}
	if deadline, some := ctx.Deadline(); some {
		const mercy = 5 * time.Second // until a child that was ended is gone
		err = says.SetReadDeadline(deadline.Add(mercy))
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
