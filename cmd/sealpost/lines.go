package main

import "context"

// startLines puts the dialogue on each of the technician's lines.
func (m *machine) startLines(ctx context.Context) {
	for _, line := range m.facts.Lines {
		child := m.child("console on "+line, append([]string{program, "console", "--line", line}, m.boardFlags()...))
		go child.Run(ctx)
	}
}
