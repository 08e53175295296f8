package appliance

import (
	"context"
	"path/filepath"
	"time"

	"sealpost/hal/linux/gadget"
	"sealpost/hal/linux/kernel"
)

// startConsole runs the console on a serial line.
func (a *Appliance) startConsole(line string) {
	child := a.child("console on "+line, append([]string{program, "console", "--line", line}, a.boardFlags()...))
	a.spawn(child.Run)
}

// startGadget creates the serial line over USB. The driver of its controller may
// load late.
func (a *Appliance) startGadget(context.Context) {
	if a.facts.UDC == "" {
		return
	}
	const timeout = time.Minute
	if err := kernel.AwaitFile(filepath.Join("/sys/class/udc", a.facts.UDC), timeout); err != nil {
		a.logFault("USB serial line", err)
		return
	}
	if err := gadget.Start(a.facts.UDC, a.serial); err != nil {
		a.logFault("USB serial line", err)
		return
	}
	a.startConsole(gadget.Line)
}
