package main

import (
	"context"
	"path/filepath"
	"time"

	"sealpost/hal/linux/gadget"
	"sealpost/hal/linux/kernel"
)

// startLines puts the dialogue on each of the technician's lines.
func (m *machine) startLines(ctx context.Context) {
	for _, line := range m.facts.Lines {
		m.startLine(ctx, line)
	}
}

func (m *machine) startLine(ctx context.Context, line string) {
	child := m.child("console on "+line, append([]string{program, "console", "--line", line}, m.boardFlags()...))
	go child.Run(ctx)
}

// startGadget makes the line for a USB cable, whose controller's driver may come
// late.
func (m *machine) startGadget(ctx context.Context) {
	if m.facts.UDC == "" {
		return
	}
	const patience = time.Minute
	if err := kernel.AwaitFile(filepath.Join("/sys/class/udc", m.facts.UDC), patience); err != nil {
		m.try("USB serial line", err)
		return
	}
	if err := gadget.Start(m.facts.UDC, m.serial); err != nil {
		m.try("USB serial line", err)
		return
	}
	m.startLine(ctx, gadget.Line)
}
