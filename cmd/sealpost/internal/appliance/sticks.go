package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/hal/linux/led"
	"sealpost/hal/linux/process"
	"sealpost/hal/linux/usb"
	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
)

// stickTimeout limits the processing of a stick.
const stickTimeout = 2 * time.Minute

// doneShown is how long the lamp shows that a stick was applied.
const doneShown = time.Minute

// startSticks processes each stick that is plugged in, one at a time.
func (a *Appliance) startSticks() {
	var processing sync.Mutex
	a.spawn(func(ctx context.Context) {
		usb.Watch(ctx, func(inserted context.Context, s usb.Stick) {
			processing.Lock()
			defer processing.Unlock()
			if inserted.Err() != nil {
				return
			}
			a.lamp.showStick(led.StickWorking)
			pattern := led.StickRefused
			if v := a.takeStick(ctx, s); len(v.Faults) == 0 {
				pattern = led.StickDone
				// A stick that stays in must not hide the state of mail forever.
				var cancel context.CancelFunc
				inserted, cancel = context.WithTimeout(inserted, doneShown)
				defer cancel()
			}
			a.lamp.showStick(pattern)
			<-inserted.Done()
			a.lamp.showStick(nil)
		})
	})
}

// takeStick runs a child that processes a stick, and applies what it committed. It
// abandons a child that hangs in the kernel.
func (a *Appliance) takeStick(ctx context.Context, s usb.Stick) bundle.Result {
	before := a.lastBundle(ctx)
	ctx, cancel := context.WithTimeout(ctx, stickTimeout)
	defer cancel()
	child, err := a.startStick(ctx, s)
	if err != nil {
		a.logFault("stick", err)
		return bundle.Rejected(err)
	}
	defer child.close()
	v := a.stickOutcome(ctx, child.Decoder, before)
	if v.Applied {
		// Apply the settings even after the timeout: they are stored.
		a.logFault("settings", a.commit.Applied(context.WithoutCancel(ctx)))
	}
	a.journal.Stick(v.String())
	var written stickResult
	if err := child.Decode(&written); err == nil && written.Trouble != "" {
		a.logFault("stick", errors.New(written.Trouble))
	}
	_ = child.await()
	return v
}

// stickOutcome returns the result that the child prints. A child that was killed
// between its commit and its output has changed the box nevertheless.
func (a *Appliance) stickOutcome(ctx context.Context, child *json.Decoder, before string) (v bundle.Result) {
	err := child.Decode(&v)
	switch {
	case err == nil:
		return v
	case a.lastBundle(context.WithoutCancel(ctx)) != before:
		return bundle.Result{Applied: true, Files: []string{bundle.Folder}}
	}
	return bundle.Rejected(fmt.Errorf("the stick did not respond in time or was pulled out too early: plug it in again, or use another one (%w)", err))
}

// lastBundle returns the origin of the last committed bundle; empty if the state
// cannot be read.
func (a *Appliance) lastBundle(ctx context.Context) string {
	if a.storage.store == nil {
		return ""
	}
	origin, err := candidate.LastOrigin(ctx, a.storage.store)
	a.logFault("stick", err)
	return origin
}

// stickChild is a process that prints JSON.
type stickChild struct {
	*json.Decoder
	output *os.File
}

// await waits until the child has exited or its output is closed.
func (c stickChild) await() error {
	_, err := io.Copy(io.Discard, c.output)
	return err
}

func (c stickChild) close() { _ = c.output.Close() }

// startStick starts a child in a new mount namespace. Its output is closed when
// ctx ends.
func (a *Appliance) startStick(ctx context.Context, s usb.Stick) (stickChild, error) {
	output, end, err := os.Pipe()
	if err != nil {
		return stickChild{}, err
	}
	if deadline, found := ctx.Deadline(); found {
		const killDelay = 5 * time.Second // until a killed child has exited
		err = output.SetReadDeadline(deadline.Add(killDelay))
	}
	if err != nil {
		return stickChild{}, errors.Join(err, output.Close(), end.Close())
	}
	command := exec.CommandContext(ctx, program, append([]string{"stick", "--json", "--disk", s.Name, "--serial", a.serial}, a.boardFlags()...)...)
	command.Stdout = end
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS}
	a.spawn(func(context.Context) {
		if err := process.Run(command); err != nil {
			a.logFault("stick", err)
		}
		_ = end.Close()
	})
	const maxOutput = 1 << 20
	return stickChild{json.NewDecoder(io.LimitReader(output, maxOutput)), output}, nil
}
