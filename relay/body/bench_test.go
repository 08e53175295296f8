package body

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// BenchmarkNormaliser compares content of nothing but line endings with text: no
// client may cost much more than another for the same number of octets.
func BenchmarkNormaliser(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"text", strings.Repeat("x", 70) + "\r\n"},
		{"CRLF", "\r\n"},
		{"LF", "\n"},
		{"CR", "\r"},
		{"short lines with CR", "x\r"},
		{"short lines with NUL", "x\x00\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			const size, part = 1 << 20, 4096
			content := bytes.Repeat([]byte(c.line), size/len(c.line)+1)[:size]
			b.SetBytes(size)
			for b.Loop() {
				n := NewNormaliser(io.Discard, 1000)
				for at := 0; at < size; at += part {
					if _, err := n.Write(content[at : at+part]); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
